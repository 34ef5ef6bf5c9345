"""Verdicts do not depend on how busy the machine is, and nothing piles up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.sandbox import soak
from tests.sandbox.conftest import LEVEL

from lichen.sandbox import Job, Limits, Sandbox

PROGRAMS = 300
WORKS = """
import time
def f(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    return 'done'
"""


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that want a core all the time."""
    started = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def yield_to_others(pid: int) -> None:
    """Make a process less important, and its session, where the kernel weighs whole sessions."""
    os.setpriority(os.PRIO_PROCESS, pid, os.nice(0) + 10)
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text("10")
        time.sleep(0.11)  # one change in a tenth of a second is all that a user may make


@pytest.mark.skipif(LEVEL not in ("full", "strong"), reason="other levels have other verdicts")
def test_three_hundred_programs_of_every_kind_leave_nothing() -> None:
    outside = soak.Holdings.now()
    with Sandbox(limits=soak.LIMITS) as sandbox:
        assert soak.run(sandbox, 100) == []
        before = soak.Holdings.now()
        assert soak.run(sandbox, PROGRAMS) == []
        after = soak.Holdings.now()
    left = soak.Holdings.now()
    assert after.left_since(before, supervisor_bytes=2 << 20, zygote_bytes=2 << 20) == []
    assert left.left_since(outside, supervisor_bytes=4 << 20, zygote_bytes=0) == []


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="waiting is not counted here")
def test_time_spent_waiting_for_a_core_is_not_held_against_a_program() -> None:
    limits = Limits(idle_seconds=0.5, wall_seconds=2.0)
    working = Job(WORKS, "f", "assert f(0.4) == 'done'")
    asleep = Job("import time\ndef f(x): time.sleep(99)", "f", "f(1)")
    with Sandbox(workers=1, limits=limits) as sandbox:
        for process in psutil.Process().children(recursive=True):
            yield_to_others(process.pid)
        with busy(2 * len(os.sched_getaffinity(0))):
            results = dict(sandbox.run([working, asleep]))
    assert results[0].verdict == "passed", results[0]
    assert results[0].seconds > limits.wall_seconds, "it was not starved: the test shows nothing"
    assert results[1].verdict == "timeout", results[1]
