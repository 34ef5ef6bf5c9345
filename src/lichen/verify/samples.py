"""Samples from a file: HumanEval's and EvalPlus's JSONL, and a run's own completions.jsonl."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lichen.errors import InputError
from lichen.tasks import Task


@dataclass(frozen=True)
class Sample:
    """A program that answers a task; `group` tells apart what is scored separately."""

    group: str
    task: Task
    program: str


class _Line(msgspec.Struct, frozen=True):
    """The fields that lines of any of the three forms have."""

    task_id: str | None = None
    completion: str | None = None
    solution: str | None = None
    task: str | None = None
    tasks: str = ""
    role: str | None = None
    perturbation: str | None = None
    program: str | None = None


def read_samples(path: Path, find: Callable[[str], Task]) -> list[Sample]:
    """The samples of a file; `find` gives a task by its id or raises InputError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"cannot read the samples in {path}: {error.strerror}.") from error
    known: dict[str, Task] = {}
    samples = []
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            line = msgspec.json.decode(raw, type=_Line)
        except msgspec.DecodeError as error:
            raise InputError(f"{path}, line {number} is not a sample: {error}.") from error
        if line.perturbation is not None:
            continue
        task_id = line.task_id or line.task
        if task_id is None:
            raise InputError(f"{path}, line {number} has no task_id.")
        if task_id not in known:
            known[task_id] = find(task_id)
        samples.append(_sample(line, known[task_id], f"{path}, line {number}"))
    if not samples:
        raise InputError(f"{path} holds no samples.")
    return samples


def _sample(line: _Line, task: Task, where: str) -> Sample:
    if line.program is not None:
        return Sample(f"{line.tasks} {line.role or ''}".strip(), task, line.program)
    if line.solution is not None:
        return Sample("all", task, line.solution)
    if line.completion is not None:
        return Sample("all", task, task.prompt + line.completion)
    raise InputError(f"{where} has neither completion, solution nor program.")
