"""The task sets that a command looks into, and programs judged by their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lichen.cli import command as shared

if TYPE_CHECKING:
    from lichen.sandbox import Result
    from lichen.tasks import Task, TaskSet

_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with the files of sets that do not come with lichen.",
)
_TASKS = click.option(
    "--tasks", metavar="T", help="The set; else all that have names are searched."
)
_WEAK = click.option(
    "--allow-weak", is_flag=True, help="Go on in a sandbox that lacks system call filters."
)


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --data."""
    return _DATA(function)


def search_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --tasks and --data."""
    return _TASKS(_DATA(function))


def sandbox_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --allow-weak."""
    return _WEAK(function)


class Library:
    """The set that is named, or else all sets that have names and whose data is here."""

    def __init__(self, tasks: str | None, data: Path | None) -> None:
        self._named, self._data = tasks, data
        self._sets: dict[str, TaskSet] = {}
        self._set_of: dict[str, TaskSet] = {}

    def find(self, task_id: str) -> Task:
        """A task by its id; `InputError` names the sets that were searched."""
        from lichen import tasks as library
        from lichen.errors import InputError

        names = [info.name for info in library.available()]
        left_out = ""
        for name in names if self._named is None else [self._named]:
            try:
                found = self._load(name)
            except InputError:
                if self._named is not None:
                    raise
                left_out += f" Not searched: {name}, whose data is not here."
                continue
            for task in found.tasks:
                if task.id == task_id:
                    self._set_of[task_id] = found
                    return task
        raise InputError(
            f"no task {task_id!r} in {', '.join(self._sets)}; `lichen tasks list T` names those of"
            f" T.{left_out}"
        )

    @property
    def sets(self) -> list[TaskSet]:
        """The sets of the tasks that were found."""
        return list({found.name: found for found in self._set_of.values()}.values())

    def set_of(self, task: Task) -> TaskSet:
        """The set in which a task was found."""
        return self._set_of[task.id]

    def _load(self, name: str) -> TaskSet:
        from lichen import tasks as library

        if name not in self._sets:
            self._sets[name] = library.load(name, self._data)
        return self._sets[name]


def judge(
    sets: Iterable[TaskSet],
    tasks: Sequence[Task],
    programs: Sequence[str],
    *,
    allow_weak: bool,
    title: str,
) -> list[Result]:
    """The sandbox's verdict on each program; the tasks are of those sets."""
    from lichen.sandbox import Sandbox
    from lichen.verify import questions

    with Sandbox(
        allow_weak=allow_weak,
        readable=list(dict.fromkeys(f for found in sets for f in found.readable)),
        readable_by_tests=list(dict.fromkeys(f for s in sets for f in s.readable_by_tests)),
    ) as sandbox:
        return questions.judge(sandbox, tasks, programs, shared.progress(), title)
