"""Plain tests share a judge that stays: same verdicts, same details, and nothing carried over."""

from __future__ import annotations

import ast
import itertools
import os
import re
import signal
import struct
from collections.abc import Callable

import psutil
import pytest
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.conftest import LIMITS
from tests.sandbox.test_seccomp import ALLOW, EPERM, MACHINES, PID, decide
from tests.tasks.mutants import mutants

from lichen import tasks
from lichen.sandbox import Job, Result, Sandbox, seccomp, worker
from lichen.sandbox.plain import is_plain
from lichen.sandbox.syscalls import number

RIGHT = "def f(x): return x + 1"
PLAIN = "assert f(1) == 2"
# What programs answer to be compared: odd values, odd failures, and what hurts who reads it.
ANSWERS = {
    "nan": "float('nan')", "true": "True", "two": "2.0", "text": "'2'", "none": "None",
    "nested": "[[{'a': (2,)}]]", "endless": "iter(int, 1)", "function": "len", "raises": "1 / 0",
    "leaves": "__import__('os')._exit(0)", "huge": "'a' * (1 << 25)", "big": "'a' * (15 << 20)",
    "large": "10 ** 100000", "odd": "__import__('decimal').Decimal('sNaN')",
    "deep": "__import__('functools').reduce(lambda a, _: [a], range(900), 0)",
    "colliding": "{i * ((1 << 61) - 1) for i in range(30000)}",
    "own-frame": "__import__('os').write(4, b'\\0\\0\\0\\x0c{\"value\": 2}x')",
    "two-answers": "__import__('os').write(3, b'\\0\\0\\0\\x0b{\"value\":2}' * 9) and 3",
}  # fmt: skip

SECONDS = re.compile(r"\b\d+\.\d s\b")


@pytest.mark.parametrize(
    "test",
    [
        pytest.param(PLAIN, id="assert"),
        pytest.param("assert f([1, 'a'], k=(None,)) == {'b': -1.5}, 'why'", id="literals"),
        pytest.param("def check(candidate):\n  assert candidate(1)\n\ncheck(f)", id="humaneval"),
        pytest.param("METADATA = {'author': 'x'}\nassert True", id="metadata"),
        pytest.param("a = [1]; f(a); assert a[0] is None or len(a) > 1", id="mutated"),
        pytest.param("assert abs(f(1) - 0.5) < 1e-6 and f(2) in (1, 2)", id="near"),
    ],
)
def test_plain_tests_are_known(test: str) -> None:
    assert is_plain("f", "from typing import List\nimport math", test)


@pytest.mark.parametrize(
    ("test", "preamble"),
    [
        pytest.param("import math\nassert f(1)", "", id="import"),
        pytest.param("assert f(1).__class__", "", id="attribute"),
        pytest.param("f.x = 1", "", id="attribute-stored"),
        pytest.param("assert eval('1')", "", id="eval"),
        pytest.param("assert __builtins__", "", id="builtins"),
        pytest.param("print(f(1))", "", id="print"),
        pytest.param("while f(1): pass", "", id="loop"),
        pytest.param("class A: pass", "", id="class"),
        pytest.param("assert f(lambda: 1)", "", id="lambda"),
        pytest.param("def g(): global f", "", id="global"),
        pytest.param("assert helper(f(1))", "def helper(x): return x", id="helper"),
        pytest.param(PLAIN, "import sandbox_preload", id="preamble-of-a-project"),
        pytest.param(PLAIN, "import math; math.pi = 3", id="preamble-that-does-more"),
        pytest.param(PLAIN + "\n" + "#" * 20_000, "", id="long"),
        pytest.param("assert f(1", "", id="broken"),
        pytest.param("\0", "", id="null-byte"),
        pytest.param("(" * 5000 + ")" * 5000, "", id="deep"),
    ],
)
def test_all_other_tests_get_a_process_each(test: str, preamble: str) -> None:
    assert not is_plain("f", preamble, test)


def both_ways(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> list[dict[int, Result]]:
    """The results with the judge that stays, and with a judge for each job."""
    found = []
    for plain in (is_plain, lambda *_: False):
        monkeypatch.setattr(worker, "is_plain", plain)
        with Sandbox(workers=2, limits=LIMITS) as sandbox:
            found.append(dict(sandbox.run(jobs)))
    return found


def differences(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, object]]:
    """Jobs whose verdict, detail (but for seconds) or label depends on who judged them."""
    seen = [
        {i: (r.verdict, SECONDS.sub("N s", r.detail), r.forgeable) for i, r in results.items()}
        for results in both_ways(jobs, monkeypatch)
    ]
    return [(job, seen) for i, job in enumerate(jobs) if seen[0][i] != seen[1][i]]


def test_references_and_mutants_get_the_same_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tasks.load("basics").tasks[::5]
    jobs = [
        Job(program, task.entry_point, task.test, task.preamble)
        for task in chosen
        for wrong in [map(ast.unparse, itertools.islice(mutants(task.reference), 0, 24, 6))]
        for program in (task.reference, *wrong)
        if "while" not in program  # a mutant that loops costs a second, and says nothing more
    ]
    assert sum(is_plain(job.entry_point, job.preamble, job.test) for job in jobs) > 100
    assert differences(jobs, monkeypatch) == []


def test_hostile_answers_get_the_same_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [f"def f(x): return {answer}" for answer in ANSWERS.values()]
    jobs = [Job(program, "f", PLAIN) for program in [*programs, RIGHT]]
    assert differences(jobs, monkeypatch) == []


def test_attacks_meet_the_judge_that_stays() -> None:
    jobs = [Job(program, "f", PLAIN) for program in ATTACKS.values() if "f(" in program][:40]
    mixed = [job for attack in jobs for job in (attack, Job(RIGHT, "f", PLAIN))]
    with Sandbox(workers=2, limits=LIMITS) as sandbox:
        results = dict(sandbox.run(mixed))
    assert {results[i].verdict for i in range(1, len(mixed), 2)} == {"passed"}


def judges(sandbox: Sandbox, jobs: list[Job]) -> list[tuple[str, set[int]]]:
    """After each result: its verdict, and the processes below the zygotes."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    found = []
    for _, result in sandbox.run(jobs):
        below = {child.pid for child in psutil.Process().children(recursive=True)}
        found.append((result.verdict, below - before))
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before
    return found


def test_one_judge_stays_until_a_verdict_that_casts_doubt() -> None:
    wrong, bad = Job("def f(x): return x", "f", PLAIN), Job("def f(x): return 1 / 0", "f", PLAIN)
    with Sandbox(workers=1, limits=LIMITS) as sandbox:
        found = judges(sandbox, [Job(RIGHT, "f", PLAIN), wrong, bad, Job(RIGHT, "f", PLAIN)])
    assert [verdict for verdict, _ in found] == ["passed", "failed", "error", "passed"]
    first, second, after_error, last = (pids for _, pids in found)
    assert len(first) == 1
    assert first == second
    assert after_error == set()
    assert len(last) == 1
    assert last != first


@pytest.mark.parametrize(
    ("program", "count"), [(RIGHT, 130), ("def f(x): return 'a' * (15 << 20)", 6)]
)
def test_a_judge_retires_and_no_job_is_lost(program: str, count: int) -> None:
    with Sandbox(workers=1, limits=LIMITS) as sandbox:
        found = judges(sandbox, [Job(program, "f", PLAIN)] * count)
    verdict = "passed" if program is RIGHT else "failed"
    assert [said for said, _ in found] == [verdict] * count
    assert len(set().union(*(pids for _, pids in found))) >= 2


def test_a_killed_judge_is_replaced() -> None:
    with Sandbox(workers=1, limits=LIMITS) as sandbox:
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        run = sandbox.run([Job(RIGHT, "f", PLAIN)] * 3)
        verdicts = [next(run)[1].verdict]
        for child in psutil.Process().children(recursive=True):
            if child.pid not in before:
                os.kill(child.pid, signal.SIGKILL)
                psutil.wait_procs([child], 0.2)
        verdicts += [result.verdict for _, result in run]
    assert verdicts == ["passed"] * 3


@pytest.mark.parametrize("machine", MACHINES)
def test_only_the_judge_that_stays_may_receive_and_only_its_jobs(machine: str) -> None:
    call = number("recvmsg", machine)
    assert call is not None
    build: Callable[[bool], bytes] = lambda receives: seccomp.prepare(  # noqa: E731
        files="write", architecture=machine, receives=receives
    ).replace(b"lich", struct.pack("=I", PID))
    assert decide(build(True), machine, call, (3,)) == ALLOW
    assert decide(build(True), machine, call, (4,)) == EPERM
    assert decide(build(False), machine, call, (3,)) == EPERM
