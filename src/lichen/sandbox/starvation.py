"""How long processes have waited for a core: the machine's doing, not theirs.

Linux counts it (sched-stats.rst, /proc/pid/schedstat).  Where it does not, or there is no such
file, it counts as nothing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator

_NANOSECOND = 1e-9


def waited_seconds(ancestor: int) -> float:
    """Seconds, over the descendants of ``ancestor`` that have no children.

    Of several threads the longest counts, so that many are not excused for longer than one.
    """
    try:
        children = _children()
    except OSError:
        return 0.0
    return sum(map(_waited, _leaves(ancestor, children)))


def _children() -> dict[int, list[int]]:
    """The processes of each parent."""
    found: dict[int, list[int]] = defaultdict(list)
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                _, _, behind_name = stat.read().rpartition(b")")
        except OSError:  # it has ended
            continue
        _, parent, *_ = behind_name.split()
        found[int(parent)].append(int(name))
    return found


def _leaves(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    for child in children.get(pid, ()):
        yield from _leaves(child, children)
    if pid not in children:
        yield pid


def _waited(pid: int) -> float:
    longest = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as counts:
                longest = max(longest, int(counts.read().split()[1]))
    except (OSError, IndexError):
        pass
    return longest * _NANOSECOND
