"""A dry run of both roles before any fork, each with answers written down in advance.

What Python learns while it runs a function (specialized instructions, method caches) it writes
beside the code.  Learnt here, it is shared by every child; learnt in a child, each would copy the
same pages again.  It also shows that the two roles still understand each other.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from . import child, judge, wire

_T = TypeVar("_T")
_TIMES = 12  # CPython 3.11 specializes a function when it has run eight times
_TESTS = {
    "entry_point": "f",
    "preamble": "import math",
    "test": "a = [1]\nassert f(a, 'b') == (1, 'b') and a == [1, 2]\nassert candidate(3) == {4: 5}",
    "value_bytes": 1 << 20,
}
_ANSWERS: tuple[Mapping[str, object], ...] = (
    {"value": {"function": 0}},
    {"changed": [[1, 2]], "value": {"tuple": [1, "b"]}},
    {"value": {"dict": [4, 5]}},
)
_PROGRAM = {
    "entry_point": "f",
    "program": "def f(x, y=None):\n    if y: x.append(2)\n    return (x, y)\n",
}
_CALLS: tuple[Mapping[str, object], ...] = (
    {"call": 0, "args": {"tuple": [[1], "b"]}, "names": []},
    {"call": 0, "args": {"tuple": [3]}, "names": []},
)


def rehearse() -> None:
    """Run both roles a few times in this process; RuntimeError when the verdict is not a pass."""
    for _ in range(_TIMES):
        said = _converse(judge.run, _TESTS, _ANSWERS)
        if said != judge.verdict_line("passed", ""):
            raise RuntimeError(f"the rehearsal of the tests' side ended with {said!r}")
        _converse(child.run, _PROGRAM, _CALLS)
    for name in ("tests", "program"):
        del sys.modules[name]


def _converse(
    role: Callable[[bytes, int], _T],
    task: Mapping[str, object],
    frames: Sequence[Mapping[str, object]],
) -> _T:
    """Play a role against frames that wait for it already, and then the end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for frame in frames:
            wire.send_frame(theirs.fileno(), json.dumps(frame).encode())
        theirs.shutdown(socket.SHUT_WR)
        return role(json.dumps(task).encode(), ours.fileno())
