"""Every task is tried before it is given out: its reference passes, an empty body does not.

Both are run in the sandbox that will judge the answers.  Its level does not matter here: what
runs is the user's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lichen.sandbox import Job, Result, Sandbox
from lichen.tasks.repo.composing import blanked
from lichen.tasks.task import Task


def sound(tasks: Sequence[Task], sandbox: Sandbox) -> tuple[list[Task], list[tuple[str, str]]]:
    """The tasks that judge well, and (id, reason) of the others.

    A task whose reference does not pass with its tests in another process (its values cannot
    cross, or its tests reach into the module) is one for one process, and `split` says so.
    """
    left_out: list[tuple[str, str]] = []

    def judge(some: Sequence[Task], program: Callable[[Task], str]) -> list[Result]:
        jobs = [
            Job(task.runnable(program(task)), task.entry_point, task.test, split=task.split)
            for task in some
        ]
        results = dict(sandbox.run(jobs))
        return [results[number] for number in range(len(jobs))]

    def passing(some: Sequence[Task], *, last: bool) -> tuple[list[Task], list[Task]]:
        good, bad = [], []
        for task, result in zip(some, judge(some, lambda task: task.reference), strict=True):
            if result.verdict == "passed" and result.forgeable == (not task.split):
                good.append(task)
                continue
            bad.append(task)
            if last:
                why = f"its own function does not pass in the sandbox: {result.verdict}"
                left_out.append((task.id, f"{why}, {result.detail}"))
        return good, bad

    apart, others = passing(tasks, last=False)
    together, _ = passing([replace(task, split=False) for task in others], last=True)
    kept = {task.id: task for task in [*apart, *together]}
    ordered = [kept[task.id] for task in tasks if task.id in kept]
    checked = []
    for task, result in zip(ordered, judge(ordered, blanked), strict=True):
        if result.verdict == "passed":
            left_out.append((task.id, "its tests pass without it"))
        else:
            checked.append(task)
    return checked, left_out
