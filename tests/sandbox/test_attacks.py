"""Every attack with every layer on; between them honest programs, which must not notice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from tests.sandbox.attacks import ALIKE, ATTACKS, QUICK, TEST, task_of
from tests.sandbox.conftest import LEVEL, LIMITS

import lichen.sandbox
from lichen.sandbox import Job, Result, Sandbox, bubblewrap

# Looks for whatever an earlier job may have left; the answer is right only in a clean place.
HONEST = Job(
    program="""
import json, os, random, signal, sys, threading
def f(x):
    found = [os.listdir('/tmp') if os.getcwd() == '/tmp' else []]
    found += [threading.active_count(), signal.getsignal(signal.SIGXCPU) == signal.SIG_DFL]
    found += [json.dumps([1]), random.random(), sys.getrecursionlimit(), hash('kea')]
    found += [os.umask(0o022), signal.getitimer(signal.ITIMER_REAL), 'KEA' in os.environ]
    found += [signal.pthread_sigmask(signal.SIG_BLOCK, []) <= {signal.SIGCHLD}, '/tmp' in sys.path]
    return found + [[fd for fd in range(64) if is_open(fd)]]
def is_open(fd):
    try: return bool(os.fstat(fd))
    except OSError: return False
""",
    entry_point="f",
    test="""
import random
a = f(1)
assert a[:4] == [[], 1, True, '[1]'] and a[5] == 1000, a
assert a[4] == random.Random(0).random() and a[6] == hash('kea'), a
assert a[7:] == [0o022, (0.0, 0.0), False, True, False, [0, 1, 2, 3, 4]], a
""",
)
NAMES = [name for name in ATTACKS if name not in ALIKE]


@pytest.fixture(scope="module")
def outcome() -> dict[str, Result]:
    """All attacks in one go, an honest job after each."""
    jobs = [job for name in NAMES for job in (Job(*task_of(name)), HONEST)]
    with Sandbox(workers=4, limits=LIMITS) as sandbox:
        before = _holdings()
        results = dict(sandbox.run(jobs))
        assert _holdings() == before
    found = {name: results[2 * i] for i, name in enumerate(NAMES)}
    found |= {f"after {name}": results[2 * i + 1] for i, name in enumerate(NAMES)}
    return found


def _holdings() -> tuple[int, set[int]]:
    me = psutil.Process()
    return me.num_fds(), {child.pid for child in me.children(recursive=True)}


# What can be seen by name where there is no root of one's own (documented).
SEEN = {"reduced": {"who-else-is-there", "files-by-name"}}.get(LEVEL, set())


@pytest.mark.parametrize("name", NAMES)
def test_attack_is_contained(outcome: dict[str, Result], name: str) -> None:
    result = outcome[name]
    assert result.verdict != "refused"
    assert result.verdict != "passed" or name in SEEN, result
    assert not result.forgeable
    assert "kea42" not in result.detail


@pytest.mark.parametrize("name", NAMES)
def test_the_next_job_notices_nothing(outcome: dict[str, Result], name: str) -> None:
    assert outcome[f"after {name}"].verdict == "passed", outcome[f"after {name}"]


def test_nothing_is_left_behind(sandbox: Sandbox) -> None:
    before = _holdings()
    for _ in range(2):
        list(sandbox.run([Job(ATTACKS["file-fill"], "f", TEST), HONEST]))
    assert _holdings() == before


def test_honest_threads_work_beside_a_thread_bomb(sandbox: Sandbox) -> None:
    program = (
        "import threading\ndef f(x):\n t = threading.Thread(target=int)\n t.start()\n return x"
    )
    honest = Job(program, "f", "assert f(1) == 1")
    results = dict(sandbox.run([Job(ATTACKS["thread-bomb"], "f", TEST), *[honest] * 10]))
    assert [results[i].verdict for i in range(1, 11)] == ["passed"] * 10


AS_USER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from sandbox import Job, Limits, Sandbox
limits, without, jobs = json.load(sys.stdin)
with Sandbox(workers=4, limits=Limits(**limits), without=frozenset(without)) as sandbox:
    results = dict(sandbox.run([Job(*job) for job in jobs]))
verdicts = [results[i].verdict for i in range(len(jobs))]
json.dump([sandbox.level, sandbox.launcher, verdicts], sys.stdout)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user already")
@pytest.mark.parametrize("launcher", ["direct", "bwrap"])
def test_an_ordinary_user_contains_them_too(launcher: str) -> None:
    if launcher == "bwrap" and (bubblewrap.find() is None or LEVEL != "full"):
        pytest.skip("bwrap is not installed, or may not make namespaces")
    # The running interpreter may lie in a home that another user cannot enter.
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    setpriv = shutil.which("setpriv")
    source = Path(lichen.sandbox.__file__)
    if not (python and setpriv and all(p.stat().st_mode & 0o005 for p in source.parents)):
        pytest.skip("needs setpriv, a public interpreter and a public checkout")
    user = ("--reuid=1234", "--regid=1234", "--clear-groups")
    command = [setpriv, *user, python, "-B", "-c", AS_USER, str(source.parent.parent)]
    limits = {"cpu_seconds": LIMITS.cpu_seconds, "idle_seconds": LIMITS.idle_seconds}
    jobs = [task_of(name) for name in QUICK]
    done = subprocess.run(
        command,
        input=json.dumps([limits, ["direct"] if launcher == "bwrap" else [], jobs]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    level, used, verdicts = json.loads(done.stdout)
    assert (level, used) == (LEVEL, launcher)
    through = {name for name, verdict in zip(QUICK, verdicts, strict=True) if verdict == "passed"}
    assert through == SEEN
