"""A programming task, and a set of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace

from lichen.errors import InputError

#: Where the answer stands in `Task.host`.
HOLE = "__answer__"


@dataclass(frozen=True)
class Task:
    """One function to write.

    prompt      source up to and including the docstring; it ends with a newline
    reference   a complete program that solves the task: the prompt and a body
    test        source that raises when the answer is wrong; it may call the function by its own
                name or as ``candidate``
    preamble    what the prompt holds beside the function (imports, helpers): trusted source
                that the test may use, and that a re-written answer is given back
    host        what a program runs in where it is no whole by itself: source with one `HOLE`
    split       whether tests and program can be kept apart (see `lichen.sandbox.Job`)
    """

    id: str
    prompt: str
    entry_point: str
    reference: str
    test: str
    preamble: str = ""
    difficulty: str | None = None
    host: str = ""
    split: bool = True

    def runnable(self, program: str) -> str:
        """What is run for ``program``, an answer that continues or repeats the prompt."""
        if not self.host:
            return program
        return self.host.replace(HOLE, f"{self.entry_point!r}, {program!r}", 1)


@dataclass(frozen=True)
class TaskSet:
    """Tasks with a name and the words for where they come from; ids are unique.

    readable           absolute folders that programs and tests need to read beside the standard
                       library, in the order of ``sys.path``
    readable_by_tests  the same for tests alone, and for programs that share their process
    left_out           (id, reason) of what was tried on loading and makes no task
    """

    name: str
    tasks: tuple[Task, ...]
    source: str
    readable: tuple[str, ...] = ()
    readable_by_tests: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _validate(self.tasks, self.source)

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the set, in order: equal digests mean equal tasks."""
        text = json.dumps([astuple(task) for task in self.tasks], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def subset(self, n: int, seed: int = 0) -> TaskSet:
        """``n`` of the tasks, in their order, every difficulty in its share of the whole.

        The same n and seed give the same tasks; a smaller n gives a part of a larger n's.
        Raises `InputError` unless 1 <= n <= the number of tasks.
        """
        if not 1 <= n <= len(self.tasks):
            raise InputError(
                f"cannot take {n} tasks of {self.name!r}: give a number from 1 to {len(self.tasks)}"
            )
        chosen = set(_spread(self.tasks, seed)[:n])
        tasks = tuple(task for task in self.tasks if task.id in chosen)
        return replace(self, name=f"{self.name}:{n}", tasks=tasks)


def _spread(tasks: Iterable[Task], seed: int) -> list[str]:
    """All ids, so ordered that every beginning holds each difficulty in its share."""
    levels: defaultdict[str | None, list[str]] = defaultdict(list)
    for task in tasks:
        levels[task.difficulty].append(task.id)

    def shuffled(id: str) -> str:
        return hashlib.sha256(f"{seed}\0{id}".encode()).hexdigest()

    placed = [
        ((place + 0.5) / len(ids), shuffled(id), id)
        for ids in levels.values()
        for place, id in enumerate(sorted(ids, key=shuffled))
    ]
    return [id for _, _, id in sorted(placed)]


def _validate(tasks: tuple[Task, ...], source: str) -> None:
    """Refuse a set that cannot be used, naming every fault at once."""
    if not tasks:
        raise InputError(f"{source}: no tasks in it")
    faults = [
        f"{id!r} is there {count} times"
        for id, count in Counter(task.id for task in tasks).items()
        if count > 1
    ]
    faults += [f"{task.id!r}: {fault}" for task in tasks for fault in _faults(task)]
    if faults:
        raise InputError(f"{source}: {enumerated(faults)}")


def enumerated(faults: list[str]) -> str:
    """The first five faults, and how many more there are."""
    more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
    return "; ".join(faults[:5]) + more


def _faults(task: Task) -> Iterable[str]:
    if not (task.id and task.id.isprintable()):  # it is shown, and a key of records
        yield "a task_id has to be printable, and not empty"
    if not task.test.strip():
        yield "it has no tests"
    if not task.reference.strip():
        yield "it has no reference solution"
    definition = rf"^(async\s+)?def\s+{re.escape(task.entry_point)}\s*\("
    if not re.search(definition, task.prompt, re.MULTILINE):
        yield f"its prompt does not define the entry point {task.entry_point!r}"
