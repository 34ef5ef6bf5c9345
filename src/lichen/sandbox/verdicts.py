"""From what the tests said and how the processes ended to one verdict."""

from __future__ import annotations

import json
import os
import signal
from typing import Any, get_args

from .api import Limits, Verdict
from .worker import Ending

UNSPLIT = "unsplit"
_GONE = "gone"
_KNOWN = frozenset({*get_args(Verdict), UNSPLIT, _GONE})
_EXIT_MEMORY = 77  # the child's own MemoryError, outside the program
_NEARLY = 0.9
_DETAIL_CHARACTERS = 300


def parse(line: bytes) -> tuple[str, str] | None:
    """The tests' verdict and detail, or None when the line is not one.

    In one process the program may have written the line itself, so it is checked like any input.
    """
    try:
        said: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(said, list) and [type(part) for part in said] == [str, str]):
        return None
    verdict, detail = said
    return (verdict, detail) if verdict in _KNOWN else None


def is_gone(said: tuple[str, str] | None) -> bool:
    """Whether the tests found the program's process gone."""
    return said is not None and said[0] == _GONE


def is_judged(said: tuple[str, str] | None) -> bool:
    """Whether the tests ran to an end of their own."""
    return said is not None and said[0] in ("passed", "failed")


def conclude(
    said: tuple[str, str] | None, program: Ending, tests: Ending, limits: Limits, *, split: bool
) -> tuple[str, str]:
    """The verdict and its detail, or (UNSPLIT, why)."""
    if said is None:
        return _of_ending(tests, limits, "the tests") if split else _of_program(program, limits)
    verdict, detail = said
    if not split and verdict in (UNSPLIT, _GONE):  # only a program says that of itself
        return "error", "the program made a verdict that is none"
    if verdict == _GONE:
        return _of_program(program, limits)
    if verdict in ("failed", "error") and program.output_bytes >= limits.output_bytes:
        return "output_limit", f"printed {limits.output_bytes} bytes"
    return verdict, detail


def _of_program(ending: Ending, limits: Limits) -> tuple[str, str]:
    return _of_ending(ending, limits, "the program")


def _of_ending(ending: Ending, limits: Limits, who: str) -> tuple[str, str]:
    if not ending.ended:
        return "crashed", f"{who} closed its channel"
    code = os.waitstatus_to_exitcode(ending.status)
    # RLIMIT_CPU counts in clock ticks, which on a busy machine run ahead of the usage reported.
    if code == -signal.SIGXCPU or ending.cpu_seconds >= _NEARLY * limits.cpu_seconds:
        return "timeout", f"{who} used {ending.cpu_seconds:.1f} s of CPU time"
    if code == -signal.SIGXFSZ:
        return "output_limit", f"{who} wrote {limits.output_bytes} bytes"
    if code == _EXIT_MEMORY or ending.memory_bytes >= _NEARLY * limits.memory_bytes:
        return "memory", f"{who} used {ending.memory_bytes >> 20} MiB"
    if code < 0:
        return "crashed", f"{who} died of {signal.Signals(-code).name}"
    return "crashed", f"{who} ended itself with exit code {code}"


def printable(detail: str) -> str:
    """One line that is safe on a terminal: a program may have chosen it."""
    shown = "".join(c if c.isprintable() else " " for c in detail[: 4 * _DETAIL_CHARACTERS])
    shown = " ".join(shown.split())
    return shown if len(shown) <= _DETAIL_CHARACTERS else shown[: _DETAIL_CHARACTERS - 1] + "…"
