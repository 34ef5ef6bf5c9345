"""Programming tasks: sets of them, how a model is asked, and how its answer becomes a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lichen.errors import InputError
from lichen.tasks import basics, humaneval, jsonl
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

_SETS: dict[str, tuple[str, Callable[[], TaskSet]]] = {
    "basics": (basics.DESCRIPTION, basics.load),
    "humaneval": (humaneval.DESCRIPTION, humaneval.load),
}


@dataclass(frozen=True)
class TaskSetInfo:
    """A task set that goes by a name."""

    name: str
    description: str


def available() -> list[TaskSetInfo]:
    """The sets that `load` knows by name."""
    return [TaskSetInfo(name, description) for name, (description, _) in _SETS.items()]


def load(spec: str) -> TaskSet:
    """A task set by its name or its file, ``:N`` behind either for N of its tasks.

    ``basics``, ``humaneval``, ``path/to/tasks.jsonl``, ``basics:20``.  Files are in the form of
    HumanEval or EvalPlus (see `lichen.tasks.jsonl`).  Raises `InputError`.
    """
    name, colon, count = spec.rpartition(":")
    if colon and count.isdecimal():
        return _load(name).subset(int(count))
    return _load(spec)


def _load(name: str) -> TaskSet:
    if name in _SETS:
        _, read = _SETS[name]
        return read()
    path = Path(name)
    if path.name.endswith((".jsonl", ".jsonl.gz")) or path.is_file():
        return jsonl.load(path)
    raise InputError(
        f"no task set {name!r}: give {', '.join(_SETS)} or the path of a .jsonl file, "
        "with :N behind it for N of the tasks"
    )
