"""What callers see: a job, its result, the limits, and the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "passed", "failed", "error", "timeout", "memory", "crashed", "output_limit", "refused"
]
Level = Literal["full", "strong", "reduced", "macos", "weak", "none"]
# Who shuts the zygote in: it does so itself, or the helper program of that name does.
Launcher = Literal["direct", "bwrap", "sandbox-exec"]

MEBIBYTE = 1 << 20


class SandboxError(Exception):
    """The sandbox cannot be set up here, or cannot carry on; the message says what would help."""


@dataclass(frozen=True)
class Job:
    """One program and the tests that decide about it.

    ``program`` is the candidate's whole source, untrusted.  ``preamble`` is trusted source that
    the tests may use (imports and helpers of the prompt).  ``test`` is trusted source that raises
    when the answer is wrong; it reaches the candidate through the names ``entry_point`` and
    ``candidate`` only.  ``split=False`` says that this task's values cannot cross between
    processes: it then runs in one process, and its result is labelled forgeable.

    Without ``split=False`` that is found out, by ``reference``, a trusted program that is right:
    where its values cross, a program whose values do not has failed.  Where no reference is
    given, the program itself may bring it about that it runs in one process.
    """

    program: str
    entry_point: str
    test: str
    preamble: str = ""
    split: bool = True
    reference: str = ""


@dataclass(frozen=True)
class Result:
    """What became of a job.

    passed: every test passed.  failed: a test said no.  error: the program raised, did not
    compile, or does not define the entry point.  timeout: out of CPU time, or asleep.  memory,
    output_limit: beyond that limit.  crashed: the process ended before it answered.  refused: not
    run at all.  ``detail`` is one printable line.  ``seconds`` is wall-clock time.
    ``forgeable``: tests and program shared a process, so the program could have made the verdict.
    """

    verdict: Verdict
    detail: str
    seconds: float
    forgeable: bool


@dataclass(frozen=True)
class Limits:
    """What one job may use; the program and its tests each have the whole allowance.

    ``cpu_seconds`` is the limit that matters: it does not depend on how busy the machine is
    (rounded up to whole seconds, as RLIMIT_CPU counts them).  A job that uses almost no CPU for
    ``idle_seconds``, or sleeps twice as long in pieces, is ended; ``wall_seconds`` is only the
    last resort.  Time in which it waits for a core, because others use them, does not count.
    ``output_bytes`` bounds what is printed and each file written, ``file_bytes`` all files
    together, ``value_bytes`` one value that the program returns.
    """

    cpu_seconds: float = 3.0
    idle_seconds: float = 3.0
    wall_seconds: float = 60.0
    memory_bytes: int = 1024 * MEBIBYTE
    output_bytes: int = 4 * MEBIBYTE
    file_bytes: int = 16 * MEBIBYTE
    value_bytes: int = 16 * MEBIBYTE
    source_bytes: int = 4 * MEBIBYTE
