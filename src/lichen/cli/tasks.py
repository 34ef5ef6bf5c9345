"""``lichen tasks``: look at tasks, and run solutions against their tests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lichen.cli import command as shared
from lichen.cli.exits import DONE, REJECTED
from lichen.cli.output import emit, emit_json, reason

if TYPE_CHECKING:
    from lichen.sandbox import Result
    from lichen.tasks import Task

_UNSAFE = click.option(
    "--allow-weak", is_flag=True, help="Go on in a sandbox that lacks system call filters."
)


@shared.command_group
def command() -> None:
    """Look at tasks, and score solutions."""


@shared.subcommand("lichen tasks list basics", group=command)
@click.argument("tasks", required=False)
def list_(tasks: str | None) -> None:
    """The task sets; or the tasks of one: its name, or a .jsonl file."""
    from lichen import tasks as library

    if tasks is None:
        sets = library.available()
        if shared.wants_json():
            emit_json(sets)
        for info in () if shared.wants_json() else sets:
            emit(f"{info.name:<12} {info.description}")
        return
    found = library.load(tasks)
    if shared.wants_json():
        emit_json({"name": found.name, "source": found.source, "tasks": found.tasks})
        return
    levels = Counter(task.difficulty or "not graded" for task in found.tasks)
    for task in found.tasks:
        emit(f"{task.id:<40} {task.difficulty or ''}".rstrip())
    counts = ", ".join(f"{count} {level}" for level, count in levels.items())
    emit(f"{len(found.tasks)} tasks from {found.source}: {counts}")


@shared.subcommand("lichen tasks show basics/is_leap_year", group=command)
@click.argument("task_id", metavar="ID")
@click.option("--tasks", metavar="T", help="The set it is in; else the named sets are searched.")
def show(task_id: str, tasks: str | None) -> None:
    """The prompt, the tests and the reference solution of a task."""
    task = _find(task_id, tasks)
    if shared.wants_json():
        emit_json(task)
        return
    for title, text in (
        ("prompt", task.prompt),
        ("tests", task.test),
        ("reference solution", task.reference),
    ):
        emit(f"# --- {title} of {task.id}\n{text.rstrip()}\n")


@shared.subcommand(
    "lichen tasks run --task basics/is_leap_year --solution answer.py", group=command
)
@click.option("--task", "task_id", required=True, metavar="ID", help="The task.")
@click.option("--tasks", metavar="T", help="The set it is in; else the named sets are searched.")
@click.option(
    "--solution",
    required=True,
    type=click.Path(path_type=Path),
    help="A Python file that defines the task's function.",
)
@_UNSAFE
def run(task_id: str, tasks: str | None, solution: Path, allow_weak: bool) -> int:
    """Run a solution against the tests of a task, in the sandbox; ends with 1 unless it passes."""
    task = _find(task_id, tasks)
    try:
        program = solution.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot read {solution}: {reason(error)}.") from None
    [result] = _judge([task], [program], allow_weak)
    if shared.wants_json():
        emit_json({"task": task.id, "result": result})
    else:
        emit(f"{task.id}: {result.verdict} {result.detail}".rstrip())
    return DONE if result.verdict == "passed" else REJECTED


@shared.subcommand("lichen tasks score run/completions.jsonl", group=command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--tasks", metavar="T", help="The set they answer; else the named sets are searched.")
@click.option("-k", "ks", type=click.IntRange(1), multiple=True, default=(1,), show_default=True)
@_UNSAFE
def score(file: Path, tasks: str | None, ks: tuple[int, ...], allow_weak: bool) -> None:
    """Score samples from a .jsonl file: pass@k by the unbiased estimator.

    Each line has a task_id, and a completion (what follows the prompt) or a solution (a whole
    program); or it is a line of a run's completions.jsonl, of which the perturbed ones are left
    out and the two models are told apart.
    """
    from lichen.verify.samples import read_samples

    samples = read_samples(file, lambda task_id: _find(task_id, tasks))
    results = _judge([s.task for s in samples], [s.program for s in samples], allow_weak)
    verdicts: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for sample, result in zip(samples, results, strict=True):
        verdicts[sample.group][sample.task.id].append(result.verdict == "passed")
    scores = {group: _pass_rates(by_task, ks) for group, by_task in verdicts.items()}
    if shared.wants_json():
        rates = {g: {f"pass@{k}": rate for k, rate in found.items()} for g, found in scores.items()}
        emit_json({g: {"tasks": len(verdicts[g]), **found} for g, found in rates.items()})
        return
    for group, found in scores.items():
        told = ", ".join(f"pass@{k} {rate:.1%}" for k, rate in found.items())
        emit(f"{group}: {told} of {len(verdicts[group])} tasks")


def _pass_rates(verdicts: dict[str, list[bool]], ks: Sequence[int]) -> dict[int, float]:
    """pass@k of each k; a usage error where a task has fewer samples than that."""
    from lichen.stats import pass_at_k

    task, fewest = min(verdicts.items(), key=lambda item: len(item[1]))
    if len(fewest) < max(ks):
        raise click.UsageError(
            f"-k {max(ks)} needs as many samples of every task; {task} has {len(fewest)}."
        )
    return {
        k: sum(pass_at_k(len(v), sum(v), k) for v in verdicts.values()) / len(verdicts) for k in ks
    }


def _find(task_id: str, tasks: str | None) -> Task:
    """A task by its id, in the set that is named or else in all that have names."""
    from lichen import tasks as library
    from lichen.errors import InputError

    names = [tasks] if tasks is not None else [info.name for info in library.available()]
    searched, left_out = [], ""
    for name in names:
        try:
            found = library.load(name)
        except InputError as error:
            if tasks is not None:
                raise
            left_out += f" Not searched: {error}."  # its data is not installed
            continue
        searched.append(name)
        for task in found.tasks:
            if task.id == task_id:
                return task
    raise InputError(
        f"no task {task_id!r} in {', '.join(searched)}; `lichen tasks list T` names those of T."
        f"{left_out}"
    )


def _judge(tasks: Sequence[Task], programs: Sequence[str], allow_weak: bool) -> list[Result]:
    from lichen.sandbox import Sandbox
    from lichen.verify.questions import judge

    with Sandbox(allow_weak=allow_weak) as sandbox:
        return judge(sandbox, tasks, programs, shared.progress(), "Scoring")
