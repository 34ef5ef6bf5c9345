"""Programming tasks: sets of them, how a model is asked, and how its answer becomes a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lichen.errors import InputError
from lichen.tasks import basics, humaneval, jsonl, mbpp
from lichen.tasks.extraction import program
from lichen.tasks.prompting import Prompt, Style, render
from lichen.tasks.task import Task, TaskSet

__all__ = [
    "Prompt",
    "Style",
    "Task",
    "TaskSet",
    "TaskSetInfo",
    "available",
    "load",
    "program",
    "render",
]

_DESCRIPTIONS = {
    "basics": basics.DESCRIPTION,
    "humaneval": humaneval.DESCRIPTION,
    **mbpp.DESCRIPTIONS,
}


@dataclass(frozen=True)
class TaskSetInfo:
    """A task set that goes by a name; ``missing`` says what it needs that is not here."""

    name: str
    description: str
    missing: str | None = None


def available(data: Path | None = None) -> list[TaskSetInfo]:
    """The sets that `load` knows by name, and what each of them lacks."""
    return [TaskSetInfo(*named, _missing(named[0], data)) for named in _DESCRIPTIONS.items()]


def _missing(name: str, data: Path | None) -> str | None:
    try:
        if name == "humaneval":
            humaneval.find()
        elif name in mbpp.FILES:
            mbpp.find(name, data)
    except InputError as error:
        return str(error)
    return None


def load(spec: str, data: Path | None = None) -> TaskSet:
    """A task set by its name or its file, ``:N`` behind either for N of its tasks.

    ``basics``, ``humaneval``, ``mbpp``, ``path/to/tasks.jsonl``, ``repo:path/to/project``,
    ``basics:20``.  Files are in the form of HumanEval or EvalPlus (see `lichen.tasks.jsonl`), a
    project is any with a pytest suite (see `lichen.tasks.repo`).  ``data`` is the folder with the
    files of the sets that do not come with lichen.  Raises `InputError`.
    """
    name, colon, count = spec.rpartition(":")
    if colon and count.isdecimal():
        return _load(name, data).subset(int(count))
    return _load(spec, data)


def _load(name: str, data: Path | None) -> TaskSet:
    if name == "basics":
        return basics.load()
    if name == "humaneval":
        return humaneval.load()
    if name in mbpp.DESCRIPTIONS:
        return mbpp.load(name, data)
    if name.startswith("repo:"):
        return _load_project(Path(name.removeprefix("repo:")))
    path = Path(name)
    if path.name.endswith((".jsonl", ".jsonl.gz")) or path.is_file():
        return jsonl.load(path)
    raise InputError(
        f"no task set {name!r}: give {', '.join(_DESCRIPTIONS)}, the path of a .jsonl file, "
        "or repo: and the folder of a Python project, with :N behind it for N of the tasks"
    )


def _load_project(path: Path) -> TaskSet:
    from lichen.tasks import repo  # it runs the project's tests, and needs the sandbox

    return repo.load(path)
