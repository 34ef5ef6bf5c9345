"""Whatever happens to the sandbox or around it: nothing hangs, nothing stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from tests.sandbox.conftest import LEVEL, LIMITS

import lichen.sandbox
from lichen.sandbox import Job, Sandbox, SandboxError

GOOD = Job("def f(x): return x", "f", "assert f(1) == 1")
ENDLESS = Job("def f(x):\n while 1: pass", "f", "f(1)")


def zygotes() -> list[psutil.Process]:
    """Our own descendants."""
    return psutil.Process().children(recursive=True)


def wait_until(condition: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_leaving_the_context_leaves_no_process_and_no_descriptor() -> None:
    before, open_before = set(zygotes()), psutil.Process().num_fds()
    with Sandbox(workers=2, limits=LIMITS) as sandbox:
        assert len(set(zygotes()) - before) >= 4
        list(sandbox.run([GOOD] * 3))
    assert set(zygotes()) == before
    assert psutil.Process().num_fds() == open_before


def test_an_abandoned_run_is_killed_and_the_sandbox_goes_on() -> None:
    with Sandbox(workers=2, limits=LIMITS) as sandbox:
        for _, result in sandbox.run([GOOD, ENDLESS, ENDLESS]):
            assert result.verdict == "passed"
            break
        assert [r.verdict for _, r in sandbox.run([GOOD])] == ["passed"]


def test_a_killed_worker_is_replaced() -> None:
    before = set(zygotes())
    with Sandbox(workers=1, limits=LIMITS) as sandbox:
        for process in set(zygotes()) - before:
            process.kill()
        results = [r.verdict for _, r in sandbox.run([GOOD, GOOD])]
    assert results == ["passed", "passed"]
    assert set(zygotes()) == before


def test_one_run_at_a_time_and_only_inside_the_block() -> None:
    sandbox = Sandbox(workers=1, limits=LIMITS)
    with pytest.raises(SandboxError, match="with"):
        list(sandbox.run([GOOD]))
    with sandbox:
        first = sandbox.run([GOOD, GOOD])
        next(first)
        with pytest.raises(SandboxError, match="one run"):
            list(sandbox.run([GOOD]))
        assert len(list(first)) == 1
        assert list(sandbox.run([])) == []


CHILD = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[1])
    from sandbox import Job, Limits, Sandbox
    with Sandbox(workers=2, limits=Limits(cpu_seconds=30)) as sandbox:
        print("level", sandbox.level, flush=True)
        job = Job(sys.argv[2], "f", "assert f(1) == 1")
        for _, result in sandbox.run([job] * 2):
            print(result.verdict, result.detail, flush=True)
    """
)


def start(program: str, *launcher: str) -> subprocess.Popen[str]:
    """A process of its own with a sandbox, imported alone: without lichen around it."""
    folder = str(Path(lichen.sandbox.__file__).parent.parent)
    command = [*(launcher or [sys.executable]), "-c", CHILD, folder, program]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_supervisor_that_ends_takes_everything_with_it(sent: signal.Signals) -> None:
    with start(ENDLESS.program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"level {LEVEL}\n"
        time.sleep(0.3)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 6
        os.killpg(process.pid, sent)
        process.wait(15)
    assert process.returncode in (-sent, 130, 1)
    assert wait_until(lambda: not any(p.is_running() for p in family))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user already")
def test_an_ordinary_user_gets_the_same_level() -> None:
    # The running interpreter may lie in a home that another user cannot enter.
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    setpriv = shutil.which("setpriv")
    source = Path(lichen.sandbox.__file__)
    readable = all(p.stat().st_mode & 0o005 for p in source.parents)
    if not (python and setpriv and readable):
        pytest.skip("needs setpriv, a public interpreter and a public checkout")
    user = ["--reuid=1234", "--regid=1234", "--clear-groups"]
    with start("def f(x): return x", setpriv, *user, python) as process:
        out, err = process.communicate(timeout=30)
    assert "SyntaxError" not in err, "the system's interpreter is too old"
    assert out.splitlines() == [f"level {LEVEL}", "passed ", "passed "], err
