"""The run's folder: refused, claimed, locked, kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from lichen.errors import InputError
from lichen.verify.run import RunFolder, read_marker, write_whole


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".lock"}


def test_a_new_folder_is_made_and_claimed(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a" / "run", "s", "t"):
        pass
    assert names(tmp_path / "a" / "run") == {"run.json"}


def test_the_same_run_may_come_back(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder(tmp_path, "s", "t") as run:
            run.write("record.json", b"{}")
    assert names(tmp_path) == {"run.json", "record.json"}


def test_a_foreign_folder_is_refused_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty"), RunFolder(tmp_path, "s", "t", force=True):
        pass
    assert names(tmp_path) == {"thesis.tex"}


def test_another_run_is_refused_and_left_whole(tmp_path: Path) -> None:
    with RunFolder(tmp_path, "s", "first") as run:
        run.write("record.json", b"old")
    with pytest.raises(InputError, match="first, not second"), RunFolder(tmp_path, "z", "second"):
        pass
    assert (tmp_path / "record.json").read_bytes() == b"old"


def test_force_takes_over_but_removes_nothing_before_the_new_is_there(tmp_path: Path) -> None:
    with RunFolder(tmp_path, "s", "first") as run:
        run.write("record.json", b"old")
    with RunFolder(tmp_path, "z", "second", force=True):
        assert (tmp_path / "record.json").read_bytes() == b"old"


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path, "s", "t"),
        pytest.raises(InputError, match="another lichen"),
        RunFolder(tmp_path, "s", "t"),
    ):
        pass


def test_bad_input_leaves_no_folder_that_the_run_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bad"), RunFolder(tmp_path / "a" / "b", "s", "t"):
        raise InputError("bad")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_never_began_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(InputError, match="bad"), RunFolder(runs / "mine", "s", "t") as run:
        with RunFolder(runs / "other", "z", "u") as other:
            other.write("record.json", b"hours of work")
        (run.path / "model-int8").mkdir()
        (run.path / "model-int8" / "weights").write_bytes(b"more of it")
        raise InputError("bad")
    assert (runs / "other" / "record.json").read_bytes() == b"hours of work"
    with RunFolder(runs / "mine", "s", "t") as again:
        assert (again.path / "model-int8" / "weights").read_bytes() == b"more of it"


def test_bad_input_keeps_a_folder_that_was_there(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", "s", "t") as run:
        run.write("record.json", b"{}")
    with pytest.raises(InputError, match="bad"), RunFolder(tmp_path / "run", "s", "t"):
        raise InputError("bad")
    assert (tmp_path / "run" / "record.json").exists()


def test_what_a_killed_run_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.77.part").touch()
    with RunFolder(tmp_path, "s", "t"):
        pass
    assert names(tmp_path) == {"run.json"}


def test_a_file_as_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"), RunFolder(tmp_path / "file", "s", "t"):
        pass
    with pytest.raises(InputError), RunFolder(tmp_path / "file" / "below", "s", "t"):
        pass


def test_a_step_is_computed_once_for_its_key(tmp_path: Path) -> None:
    calls: list[str] = []

    def compute() -> dict[str, float]:
        calls.append("")
        return {"x": 1.5}

    with RunFolder(tmp_path, "s", "t") as run:
        for key in (["a"], ["a"], ["b"]):
            assert run.remember("step.json", key, dict[str, float], compute) == {"x": 1.5}
        assert len(calls) == 2
        (tmp_path / "step.json").write_bytes(b'{"key": ["b"], "val')
        assert run.remember("step.json", ["b"], dict[str, float], compute) == {"x": 1.5}
    assert len(calls) == 3


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_whole({path: b"old"})
    with pytest.raises(TypeError):
        write_whole({path: "not bytes"})  # type: ignore[dict-item]
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"f"}


def test_files_that_belong_together_are_all_old_or_all_new(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_whole({first: b"old", second: b"old"})
    with pytest.raises(TypeError):
        write_whole({first: b"new", second: "not bytes"})  # type: ignore[dict-item]
    assert (first.read_bytes(), second.read_bytes()) == (b"old", b"old")
    assert names(tmp_path) == {"a", "b"}


def test_a_run_of_a_later_form_is_left_alone(tmp_path: Path) -> None:
    marker = b'{"lichen_run": 3, "subject": "s", "title": "t"}'
    (tmp_path / "run.json").write_bytes(marker)
    with pytest.raises(InputError, match=r"form 3.*up to 2"), RunFolder(tmp_path, "s", "t"):
        pass
    assert (tmp_path / "run.json").read_bytes() == marker


def test_a_run_of_the_first_form_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b'{"lichen_run": 1, "subject": "s", "title": "t"}')
    with RunFolder(tmp_path, "s", "t", invocation={"verb": "verify"}):
        pass
    marker = read_marker(tmp_path)
    assert marker is not None
    assert marker.invocation == {"verb": "verify"}
