"""Samples in their three forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lichen.errors import InputError
from lichen.tasks import Task
from lichen.verify.samples import read_samples

TASK = Task("t/1", "def f():\n", "f", "def f():\n    return 1\n", "assert f() == 1")


def find(task_id: str) -> Task:
    if task_id != TASK.id:
        raise InputError(f"no task {task_id}")
    return TASK


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_the_three_forms(tmp_path: Path) -> None:
    run_line = {"task": "t/1", "tasks": "basics", "perturbation": None, "program": "p"}
    path = write(
        tmp_path / "s.jsonl",
        {"task_id": "t/1", "completion": "    return 2\n"},
        {"task_id": "t/1", "solution": "def f(): return 3"},
        run_line | {"role": "reference"},
        run_line | {"role": "candidate"},
        run_line | {"role": "candidate", "perturbation": "camel_case"},
    )
    assert [(s.group, s.program) for s in read_samples(path, find)] == [
        ("all", "def f():\n    return 2\n"),
        ("all", "def f(): return 3"),
        ("basics reference", "p"),
        ("basics candidate", "p"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no samples"),
        ("{", "line 1 is not a sample"),
        ('{"task_id": 3}', "line 1 is not a sample"),
        ('{"completion": "x"}', "has no task_id"),
        ('\n{"task_id": "t/1"}', "line 2 has neither"),
        ('{"task_id": "t/2", "completion": ""}', "no task t/2"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_samples(path, find)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_samples(tmp_path / "none", find)
