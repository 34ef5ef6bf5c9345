"""Task files in the form of HumanEval and EvalPlus: one JSON object a line.

HumanEval (Chen et al., arXiv 2107.03374): task_id, prompt, entry_point, canonical_solution and
test, which defines ``check(candidate)``.  EvalPlus (Liu et al., arXiv 2305.01210) gives instead
of test base_input and plus_input, lists of argument lists, whose right answers are the
reference's, compared within atol.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lichen.errors import InputError
from lichen.tasks import source
from lichen.tasks.task import Task, TaskSet

FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution")


def load(path: Path, *, name: str | None = None, origin: str | None = None) -> TaskSet:
    """The tasks of a ``.jsonl`` or ``.jsonl.gz`` file; `InputError` names the line at fault."""
    tasks = tuple(_task(row, f"{path}:{number}") for number, row in _rows(path))
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return TaskSet(name=name or stem, tasks=tasks, source=origin or str(path))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered lines as objects, blank ones left out."""
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: this line is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: a task has to be a JSON object, with a task_id")
        yield number, row


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:  # gzip's own errors are OSErrors
        raise InputError(f"cannot read the tasks in {path}: {error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _task(row: dict[str, Any], where: str) -> Task:
    wrong = [field for field in FIELDS if not isinstance(row.get(field), str)]
    if wrong:
        raise InputError(
            f"{where}: a task needs the text fields {', '.join(FIELDS)}; "
            f"missing or not text: {', '.join(wrong)}"
        )
    prompt, entry_point = row["prompt"].replace("\r\n", "\n"), row["entry_point"]
    if not entry_point.isidentifier():
        raise InputError(f"{where}: entry_point {entry_point!r} is not a Python name")
    reference = prompt + row["canonical_solution"].replace("\r\n", "\n")
    return Task(
        id=row["task_id"],
        prompt=prompt,
        entry_point=entry_point,
        reference=reference,
        test=_test(row, reference, where),
        preamble=source.preamble(prompt, entry_point),
    )


def _test(row: dict[str, Any], reference: str, where: str) -> str:
    if "base_input" in row or "plus_input" in row:
        return _test_from_inputs(row, reference, where)
    test = row.get("test", "")
    if not isinstance(test, str):
        raise InputError(f"{where}: the field test has to be text")
    if "def check(" in test:
        return f"{test.rstrip()}\n\ncheck({row['entry_point']})\n"
    return test


def _test_from_inputs(row: dict[str, Any], reference: str, where: str) -> str:
    """A test that compares with the reference, on copies because either may change its input."""
    groups = [row.get("base_input", []), row.get("plus_input", [])]
    atol = row.get("atol", 0)
    if not all(
        isinstance(group, list) and all(isinstance(x, list) for x in group) for group in groups
    ):
        raise InputError(f"{where}: base_input and plus_input have to be lists of argument lists")
    if isinstance(atol, bool) or not isinstance(atol, int | float):
        raise InputError(f"{where}: atol has to be a number")
    inputs = [arguments for group in groups for arguments in group]
    if not inputs:
        return ""
    return EVALPLUS_TEST.format(
        reference=reference, entry_point=row["entry_point"], inputs=inputs, atol=float(atol)
    )


# EvalPlus takes 1e-6 where a task states no tolerance and the answer holds floats.
EVALPLUS_TEST = """\
import copy
import math

truth = {{}}
exec({reference!r}, truth)


def same(answer, expected):
    if answer == expected or (answer != answer and expected != expected):
        return True
    if isinstance(expected, float) and isinstance(answer, (int, float)):
        return math.isclose(answer, expected, rel_tol=1e-7, abs_tol={atol!r} or 1e-6)
    if isinstance(expected, (list, tuple)) and isinstance(answer, (list, tuple)):
        return len(answer) == len(expected) and all(map(same, answer, expected))
    return False


for arguments in {inputs!r}:
    expected = truth[{entry_point!r}](*copy.deepcopy(arguments))
    assert same({entry_point}(*copy.deepcopy(arguments)), expected), arguments
"""
