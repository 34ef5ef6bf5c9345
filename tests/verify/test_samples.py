"""Samples in their three forms."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lichen.errors import InputError
from lichen.sandbox import Result
from lichen.tasks import Task
from lichen.verify.samples import Sample, read_samples, score

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


def test_unknown_fields_and_packed_files(tmp_path: Path) -> None:
    row = {"task_id": "t/1", "completion": "    return 2\n", "logprobs": [1, {"a": None}]}
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    assert [s.program for s in read_samples(path, find)] == ["def f():\n    return 2\n"]


@pytest.mark.parametrize("content", [b"{}", gzip.compress(b"{}" * 500)[:-9]], ids=["plain", "torn"])
def test_a_packed_file_that_cannot_be_unpacked(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot read the samples in"):
        read_samples(path, find)


def test_a_folder_in_the_form_of_evalplus(tmp_path: Path) -> None:
    folder = tmp_path / "t_1"
    folder.mkdir()
    for number in (10, 0, 2):
        (folder / f"{number}.py").write_text(f"def f(): return {number}")
    (folder / "notes.txt").write_text("not a program")
    assert [s.program[-2:].strip() for s in read_samples(tmp_path, find)] == ["0", "2", "10"]
    (folder / "1.py").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"1\.py"):
        read_samples(tmp_path, find)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no samples"):
        read_samples(empty, find)


def test_a_score_counts_verdicts_and_what_was_not_answered() -> None:
    passed, failed = Result("passed", "", 0.1, True), Result("failed", "", 0.1, False)
    samples = [Sample("all", TASK, "")] * 3
    found = score(samples, [passed, failed, failed], tasks=4, ks=(1, 2))
    assert found.pass_at == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}
    assert (found.answered, found.tasks, found.samples) == (1, 4, 3)
    assert found.verdicts == {"failed": 2, "passed": 1}
    assert found.forgeable == ("t/1",)
    with pytest.raises(InputError, match="-k 4 needs as many samples of every task; t/1 has 3"):
        score(samples, [passed, failed, failed], tasks=4, ks=(4,))
