"""One sandbox for each task set, since sets differ in what may be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.verify.fakes import FakeModel, write_tasks
from tests.verify.test_examine import PROBES

from lichen.errors import InputError
from lichen.sandbox import Job
from lichen.tasks import load
from lichen.verify.boxes import sandboxes
from lichen.verify.examine import examine
from lichen.verify.paper import load_tasks
from lichen.verify.progress import Silent
from lichen.verify.run import RunFolder
from lichen.verify.settings import Settings


def test_a_set_reads_its_own_folders_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir(mode=0o755)
    (folder / "there.py").write_text("VALUE = 7\n")
    plain = load(str(write_tasks(tmp_path / "plain.jsonl", 1)))
    same = load(str(write_tasks(tmp_path / "same.jsonl", 1)))
    reading = replace(plain, name="reading", readable=(str(folder),))
    job = Job("def f():\n    import there\n    return there.VALUE\n", "f", "assert f() == 7")
    with sandboxes([plain, same, reading], allow_weak=False, unsafe=False) as boxes:
        assert boxes.of_set["plain"] is boxes.of_set["same"]
        assert boxes.of_set["plain"] is not boxes.of_set["reading"]
        verdicts = {name: next(box.run([job]))[1] for name, box in boxes.of_set.items()}
    assert verdicts["reading"].verdict == "passed", verdicts["reading"].detail
    assert verdicts["plain"].verdict == "error"


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tasks = tuple(str(write_tasks(tmp_path / d / "t.jsonl", 1)) for d in ("a", "b"))
    with pytest.raises(InputError, match="2 of the task sets are called t"):
        load_tasks(Settings(tasks=tasks))


def test_what_loading_left_out_is_told(tmp_path: Path) -> None:
    settings = Settings(tasks=(str(write_tasks(tmp_path / "t.jsonl", 2)),), robustness_tasks=0)
    [part] = load_tasks(settings)
    part = replace(part, left_out=(("t/odd", "its tests pass without it"),))
    with RunFolder(tmp_path / "run", "s", "t") as run:
        record = examine(
            FakeModel("a"),
            FakeModel("b"),
            run,
            settings,
            PROBES,
            command="test",
            progress=Silent(),
            sets=[part],
        )
    [axis] = record.correctness
    assert [(e.task, e.reason) for e in axis.excluded] == [("t/odd", "its tests pass without it")]
    assert axis.source == part.source
    assert any("its tests pass without it" in warning for warning in record.verdict.warnings)
