"""How many programs the sandbox judges in a second, whether load changes verdicts, what stays.

    python -m bench.sandbox [--data DIR] [--workers N] [--load N] [--soak N]

Reference solutions of HumanEval, of the basics and, with ``--data`` (a folder with mbpp.jsonl),
of MBPP, each against its own tests with the split judge.  ``--load N`` does it again beside N
processes that never sleep.  ``--soak N`` runs N programs that fork, flood, fill /tmp, sleep and
worse, and counts what is there before and after.  Ends with 1 when a verdict is not the expected
one, when it differs under load, or when something stayed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sandbox import soak

from lichen import tasks
from lichen.sandbox import Job, Sandbox
from lichen.tasks.task import TaskSet

ROUNDS = 3
BATCH = 500
# Beyond what is there after the first 500 programs; allocators keep a little of their own.
MEMORY_GROWTH = {"supervisor_bytes": 2 << 20, "zygote_bytes": 2 << 20}
Verdicts = dict[str, str]


def jobs(tasks: TaskSet) -> list[Job]:
    """The references as programs."""
    return [Job(task.reference, task.entry_point, task.test, task.preamble) for task in tasks.tasks]


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that never sleep, for as long as the context lasts."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def judge(chosen: TaskSet, workers: int | None, beside: int = 0) -> Verdicts:
    """Run a set, print a line, and give the verdict of each task."""
    wanted = jobs(chosen)
    seconds = []
    began, used = time.perf_counter(), cpu_seconds()
    with Sandbox(workers=workers):
        started = time.perf_counter() - began
    start, used = cpu_seconds() - used, cpu_seconds()
    with Sandbox(workers=workers) as sandbox:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            results = dict(sandbox.run(wanted))
            seconds.append(time.perf_counter() - began)
    each = (cpu_seconds() - used - start) / ROUNDS / len(wanted)
    middle = statistics.median(seconds)
    print(
        f"{chosen.name:14} {len(wanted):5} {beside:5} {sandbox.level:>8} {started:6.2f}"
        f" {middle:8.2f} {len(wanted) / middle:10.0f} {1000 * each:12.1f}",
        flush=True,
    )
    return {task.id: results[i].verdict for i, task in enumerate(chosen.tasks)}


def unexpected(found: Verdicts) -> list[str]:
    """References that did not pass."""
    return [f"{name}: {verdict}" for name, verdict in found.items() if verdict != "passed"]


def rates(sets: Sequence[TaskSet], workers: int | None, beside: int) -> list[str]:
    """Judge every set, with load once more; what is wrong."""
    print("set            tasks  load    level  start  seconds programs/s  CPU ms each")
    wrong = []
    for chosen in sets:
        quiet = judge(chosen, workers)
        wrong += unexpected(quiet)
        if beside:
            with load(beside):
                busy = judge(chosen, workers, beside)
            wrong += [
                f"{name}: {quiet[name]}, under load {busy[name]}"
                for name in quiet
                if quiet[name] != busy[name]
            ]
    return wrong


def soak_test(count: int, workers: int | None) -> list[str]:
    """Run ``count`` programs of every kind; what came out wrong or stayed."""
    outside = soak.Holdings.now()
    with Sandbox(workers=workers, limits=soak.LIMITS) as sandbox:
        wrong = soak.run(sandbox, BATCH)
        before = soak.Holdings.now()
        began = time.perf_counter()
        for done in range(0, count, BATCH):
            wrong += soak.run(sandbox, min(BATCH, count - done))
        seconds = time.perf_counter() - began
        after = soak.Holdings.now()
    left = soak.Holdings.now()
    print(f"{count} programs in {seconds:.0f} s, level {sandbox.level}")
    for name, value in (("before", before), ("after", after), ("closed", left)):
        print(f"{name:7} {value}")
    print(f"allowed growth of memory, in bytes: {MEMORY_GROWTH}")
    return [
        *wrong,
        *after.left_since(before, **MEMORY_GROWTH),
        *left.left_since(outside, **MEMORY_GROWTH),
    ]


def main() -> None:
    """Print the figures; end with 1 and the reasons when something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="a folder with mbpp.jsonl")
    parser.add_argument("--workers", type=int, help="jobs at a time")
    parser.add_argument("--load", type=int, default=0, help="processes that keep the cores busy")
    parser.add_argument("--soak", type=int, default=0, help="programs to run in the soak test")
    args = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}")
    if args.soak:
        wrong = soak_test(args.soak, args.workers)
    else:
        names = ["humaneval", "basics", *(["mbpp"] if args.data else [])]
        wrong = rates([tasks.load(name, args.data) for name in names], args.workers, args.load)
    if wrong:
        sys.exit("not as it should be:\n" + "\n".join(wrong[:20]))


if __name__ == "__main__":
    main()
