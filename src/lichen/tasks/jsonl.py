"""Task files in the form of HumanEval and EvalPlus: one JSON object a line.

HumanEval (Chen et al., arXiv 2107.03374): task_id, prompt, entry_point, canonical_solution and
test, which defines ``check(candidate)``.  What EvalPlus gives instead of test is read by
`lichen.tasks.evalplus`.  Other fields are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lichen.errors import InputError
from lichen.tasks import evalplus, source
from lichen.tasks.packed import read_bytes
from lichen.tasks.task import Task, TaskSet, enumerated

Row = dict[str, Any]

FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution")


def load(path: Path, *, name: str | None = None, origin: str | None = None) -> TaskSet:
    """The tasks of a ``.jsonl`` or ``.jsonl.gz`` file; `InputError` names the lines at fault."""
    tasks = make_all(_task, rows(path))
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return TaskSet(name=name or stem, tasks=tasks, source=origin or str(path))


def make_all(
    make: Callable[[Row, str], Task], found: Iterable[tuple[Row, str]]
) -> tuple[Task, ...]:
    """A task of every row; one `InputError` for all rows that make none."""
    tasks, faults = [], []
    for row, where in found:
        try:
            tasks.append(make(row, where))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError(enumerated(faults))
    return tuple(tasks)


def rows(path: Path) -> Iterator[tuple[Row, str]]:
    """The lines as objects, each with the words for where it is; blank ones are left out."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: this line is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: a task has to be a JSON object, with a task_id")
        yield row, f"{path}:{number}"


def read_text(path: Path) -> str:
    """The text of a file, unpacked when its name ends in .gz."""
    try:
        return read_bytes(path, "tasks").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _task(row: Row, where: str) -> Task:
    wrong = [field for field in FIELDS if not isinstance(row.get(field), str)]
    if wrong:
        raise InputError(
            f"{where}: a task needs the text fields {', '.join(FIELDS)}; "
            f"missing or not text: {', '.join(wrong)}"
        )
    prompt, entry_point = row["prompt"].replace("\r\n", "\n"), row["entry_point"]
    solution = row["canonical_solution"].replace("\r\n", "\n")
    if not entry_point.isidentifier():
        raise InputError(f"{where}: entry_point {entry_point!r} is not a Python name")
    if evalplus.is_evalplus(row) and evalplus.lacks_signature(prompt, solution, entry_point):
        return evalplus.task_without_signature(row, prompt, solution, where)
    reference = prompt + solution
    return Task(
        id=row["task_id"],
        prompt=prompt,
        entry_point=entry_point,
        reference=reference,
        test=_test(row, reference, where),
        preamble=source.preamble(prompt, entry_point),
    )


def _test(row: Row, reference: str, where: str) -> str:
    if evalplus.is_evalplus(row):
        return evalplus.test(row, reference, where)
    test = row.get("test", "")
    if not isinstance(test, str):
        raise InputError(f"{where}: the field test has to be text")
    if "def check(" in test:
        return f"{test.rstrip()}\n\ncheck({row['entry_point']})\n"
    return test
