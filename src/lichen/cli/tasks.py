"""``lichen tasks``: look at tasks, fetch and validate sets, run solutions against their tests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from lichen.cli import command as shared
from lichen.cli import score
from lichen.cli.exits import DONE, REJECTED
from lichen.cli.library import Library, data_option, judge, sandbox_options, search_options
from lichen.cli.output import emit, emit_columns, emit_json, reason


@shared.command_group
def command() -> None:
    """Look at tasks, and score solutions."""


command.add_command(score.command)


@shared.subcommand("lichen tasks list basics", group=command)
@click.argument("tasks", required=False)
@data_option
def list_(tasks: str | None, data: Path | None) -> None:
    """The task sets; or the tasks of one: its name, or a .jsonl file."""
    from lichen import tasks as library

    if tasks is None:
        sets = library.available(data)
        if shared.wants_json():
            emit_json(sets)
            return
        rows = [(i.name, i.description, "not here" if i.missing else "here") for i in sets]
        emit_columns([("name", "what it is", "data"), *rows])
        for info in sets:
            if info.missing:
                emit(info.missing)
        return
    found = library.load(tasks, data)
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
@search_options
def show(task_id: str, tasks: str | None, data: Path | None) -> None:
    """The prompt, the tests and the reference solution of a task."""
    task = Library(tasks, data).find(task_id)
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
@search_options
@click.option(
    "--solution",
    required=True,
    type=click.Path(path_type=Path),
    help="A Python file that defines the task's function.",
)
@sandbox_options
def run(
    task_id: str, tasks: str | None, data: Path | None, solution: Path, allow_weak: bool
) -> int:
    """Run a solution against the tests of a task, in the sandbox; ends with 1 unless it passes."""
    library = Library(tasks, data)
    task = library.find(task_id)
    try:
        program = solution.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot read {solution}: {reason(error)}.") from None
    [result] = judge(library.sets, [task], [program], allow_weak=allow_weak, title="Running")
    if shared.wants_json():
        emit_json({"task": task.id, "result": result})
    else:
        emit(f"{task.id}: {result.verdict} {result.detail}".rstrip())
    return DONE if result.verdict == "passed" else REJECTED


@shared.subcommand("lichen tasks validate basics", group=command)
@click.argument("tasks")
@data_option
@sandbox_options
def validate(tasks: str, data: Path | None, allow_weak: bool) -> int:
    """Run the references of a set against its tests; ends with 1 unless all pass.

    Also names the tasks that can only be judged in one process, where a program could forge its
    verdict.
    """
    from lichen import tasks as library

    found = library.load(tasks, data)
    references = [task.reference for task in found.tasks]
    results = judge([found], found.tasks, references, allow_weak=allow_weak, title="Validating")
    named = [
        (task.id, result)
        for task, result in zip(found.tasks, results, strict=True)
        if result.verdict != "passed" or result.forgeable
    ]
    passed = sum(result.verdict == "passed" for result in results)
    if shared.wants_json():
        noted = [{"task": task_id, "result": result} for task_id, result in named]
        emit_json({"name": found.name, "tasks": len(results), "passed": passed, "noted": noted})
    else:
        for task_id, result in named:
            emit(f"{task_id}: {result.verdict} {result.detail}".rstrip())
        forgeable = sum(result.forgeable for result in results)
        emit(f"{passed} of {len(results)} references pass, {forgeable} of them forgeable")
    return DONE if passed == len(results) else REJECTED


@shared.subcommand("lichen tasks fetch mbpp", group=command)
@click.argument("tasks", type=click.Choice(["mbpp", "mbpp-sanitized"]))
def fetch(tasks: str) -> None:
    """Download the data of a task set from the Hugging Face hub, into its cache."""
    from lichen.tasks import hub_copy, mbpp

    path = hub_copy.fetch(mbpp.FILES[tasks])
    found = mbpp.load(tasks, path.parent)
    same = hub_copy.is_as_published(path)
    if shared.wants_json():
        emit_json({"name": tasks, "path": path, "tasks": len(found.tasks), "as_published": same})
        return
    how = "as google-research publishes it" if same else "not byte for byte google-research's file"
    shared.progress().say(f"{tasks}: {len(found.tasks)} tasks from {hub_copy.HUB_ID}, {how}.")
    emit(str(path))
