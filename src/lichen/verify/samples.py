"""Samples from a file: HumanEval's and EvalPlus's forms, and a run's own completions.jsonl."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lichen.errors import InputError
from lichen.sandbox import Result
from lichen.stats import pass_at_k
from lichen.tasks import Task
from lichen.tasks.packed import read_bytes


@dataclass(frozen=True)
class Sample:
    """A program that answers a task; `group` tells apart what is scored separately."""

    group: str
    task: Task
    program: str


class _Line(msgspec.Struct, frozen=True):
    """The fields that lines of any of the three forms have; others are left alone."""

    task_id: str | None = None
    completion: str | None = None
    solution: str | None = None
    task: str | None = None
    tasks: str = ""
    role: str | None = None
    perturbation: str | None = None
    program: str | None = None


def read_samples(path: Path, find: Callable[[str], Task]) -> list[Sample]:
    """The samples of a file or folder; `find` gives a task by its id or raises InputError.

    A file is JSONL, packed if its name ends in .gz.  A folder is in EvalPlus's form: a folder for
    each task, HumanEval_0 for HumanEval/0, with a whole program in each of its .py files.
    """
    known: dict[str, Task] = {}
    samples = []
    for line, where in _folder(path) if path.is_dir() else _lines(path):
        if line.perturbation is not None:
            continue
        task_id = line.task_id or line.task
        if task_id is None:
            raise InputError(f"{where} has no task_id.")
        if task_id not in known:
            known[task_id] = find(task_id)
        samples.append(_sample(line, known[task_id], where))
    if not samples:
        raise InputError(f"{path} holds no samples.")
    return samples


def _lines(path: Path) -> Iterator[tuple[_Line, str]]:
    """The lines of a JSONL file, each with the words for where it is; blank ones left out."""
    for number, raw in enumerate(read_bytes(path, "samples").splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            yield msgspec.json.decode(raw, type=_Line), f"{path}, line {number}"
        except msgspec.DecodeError as error:
            raise InputError(f"{path}, line {number} is not a sample: {error}.") from error


def _folder(path: Path) -> Iterator[tuple[_Line, str]]:
    """The programs in a folder of folders, in the order of their numbers."""
    found = sorted(path.glob("*/*.py"), key=lambda p: (p.parent.name, len(p.stem), p.stem))
    for file in found:
        try:
            program = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the sample {file}: {error}.") from error
        yield _Line(task_id=file.parent.name.replace("_", "/"), solution=program), str(file)


def _sample(line: _Line, task: Task, where: str) -> Sample:
    if line.program is not None:
        return Sample(f"{line.tasks} {line.role or ''}".strip(), task, line.program)
    if line.solution is not None:
        return Sample("all", task, line.solution)
    if line.completion is not None:
        return Sample("all", task, task.prompt + line.completion)
    raise InputError(f"{where} has neither completion, solution nor program.")


@dataclass(frozen=True)
class Score:
    """What became of a group of samples.

    ``pass_at`` has the mean of pass@k over the tasks that were answered.  Over all ``tasks`` of
    the set it is that times answered / tasks: what was not answered did not pass.
    """

    tasks: int
    answered: int
    samples: int
    pass_at: dict[int, float]
    verdicts: dict[str, int]
    forgeable: tuple[str, ...]


def score(
    samples: Sequence[Sample], results: Sequence[Result], tasks: int, ks: Sequence[int]
) -> Score:
    """The score of one group, out of that many tasks; InputError where a task has too few."""
    passed: defaultdict[str, list[bool]] = defaultdict(list)
    for sample, result in zip(samples, results, strict=True):
        passed[sample.task.id].append(result.verdict == "passed")
    task, fewest = min(passed.items(), key=lambda item: len(item[1]))
    if len(fewest) < max(ks):
        raise InputError(
            f"-k {max(ks)} needs as many samples of every task; {task} has {len(fewest)}."
        )
    rates = {
        k: sum(pass_at_k(len(each), sum(each), k) for each in passed.values()) / len(passed)
        for k in ks
    }
    forgeable = (s.task.id for s, r in zip(samples, results, strict=True) if r.forgeable)
    return Score(
        tasks=tasks,
        answered=len(passed),
        samples=len(samples),
        pass_at=rates,
        verdicts=dict(Counter(result.verdict for result in results).most_common()),
        forgeable=tuple(dict.fromkeys(forgeable)),
    )
