"""Every attack at every level that holds; between them honest programs, which must not notice."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest
from tests.sandbox.attacks import ATTACKS, ESCAPE, FORGE, LEAK, TEST
from tests.sandbox.conftest import LIMITS

from lichen.sandbox import Job, Limits, Result, Sandbox

# Looks for whatever an earlier job may have left; the answer is right only in a clean place.
HONEST = Job(
    program="""
import json, os, random, signal, sys, threading
def f(x):
    found = [os.listdir('/tmp') if os.getcwd() == '/tmp' else []]
    found += [threading.active_count(), signal.getsignal(signal.SIGXCPU) == signal.SIG_DFL]
    found += [json.dumps([1]), random.random(), sys.getrecursionlimit(), hash('kea')]
    return found
""",
    entry_point="f",
    test="a = f(1)\nassert a[:4] == [[], 1, True, '[1]'] and a[5] == 1000, a\n"
    "import random\nassert a[4] == random.Random(0).random() and a[6] == hash('kea'), a",
)


@pytest.fixture(scope="module")
def outcome(sandbox: Sandbox) -> Iterator[dict[str, Result]]:
    """All attacks in one go, an honest job after each."""
    before = _holdings()
    jobs = [job for program in ATTACKS.values() for job in (Job(program, "f", TEST), HONEST)]
    results = dict(sandbox.run(jobs))
    found = {name: results[2 * i] for i, name in enumerate(ATTACKS)}
    found |= {f"after {name}": results[2 * i + 1] for i, name in enumerate(ATTACKS)}
    yield found
    assert _holdings() == before


def _holdings() -> tuple[int, set[int]]:
    me = psutil.Process()
    return me.num_fds(), {child.pid for child in me.children(recursive=True)}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_contained(outcome: dict[str, Result], name: str) -> None:
    result = outcome[name]
    assert result.verdict not in ("passed", "refused"), result
    assert not result.forgeable
    assert "kea42" not in result.detail


@pytest.mark.parametrize("name", ATTACKS)
def test_the_next_job_notices_nothing(outcome: dict[str, Result], name: str) -> None:
    assert outcome[f"after {name}"].verdict == "passed", outcome[f"after {name}"]


def test_nothing_is_left_behind(sandbox: Sandbox, outcome: dict[str, Result]) -> None:
    before = _holdings()
    for _ in range(2):
        list(sandbox.run([Job(ATTACKS["file-fill"], "f", TEST), HONEST]))
    assert _holdings() == before


# Those that end by themselves, or at once; the others only burn their CPU time again.
QUICK = [name for name in ATTACKS if name in FORGE or name in LEAK or name in ESCAPE]
QUICK += ["fork-bomb", "raw-clone", "memory-bomb", "mmap-bomb", "output-flood"]


@pytest.mark.parametrize("without", ["namespaces", "landlock"])
def test_attacks_are_contained_with_a_layer_less(without: str) -> None:
    with Sandbox(workers=2, limits=LIMITS, without=frozenset({without})) as weaker:
        results = dict(weaker.run([Job(ATTACKS[n], "f", TEST) for n in QUICK]))
    passed = [QUICK[i] for i, result in results.items() if result.verdict == "passed"]
    assert passed == []


def test_without_namespaces_and_landlock_nothing_can_be_opened() -> None:
    job = Job("def f(x): return open(x).read()", "f", f"f({os.__file__!r})")
    weaker = Sandbox(workers=1, limits=Limits(), without=frozenset({"namespaces", "landlock"}))
    with weaker:
        assert weaker.level == "reduced"
        [(_, result)] = weaker.run([job])
    assert "PermissionError" in result.detail
