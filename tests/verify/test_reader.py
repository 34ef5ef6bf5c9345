"""Records of this version and of those before it."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

from lichen.errors import InputError
from lichen.report import find_flips, read_run, render_table, write_report
from lichen.verify.reader import COMPLETIONS, RECORD, read_completions, read_record
from lichen.verify.record import SCHEMA_VERSION

#: Written by the code of schema 1, and never changed since.
GOLDEN = Path(__file__).parent / "golden" / "schema1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(copytree(GOLDEN, tmp_path / "run"))


def test_a_record_of_schema_1_is_read_in_the_words_of_today() -> None:
    record = read_record(GOLDEN)
    assert record.schema_version == SCHEMA_VERSION
    [axis] = record.correctness
    assert (axis.lost, axis.gained) == (["t/add_1"], ["t/add_3"])
    outcomes = {o.task: (o.reference, o.candidate) for o in axis.outcomes}
    assert outcomes["t/add_1"] == (["passed"], ["failed"])
    assert (axis.samples, axis.test, axis.p_value, axis.pass_at) == (1, "exact McNemar", 1.0, [])
    assert record.settings["tasks"] == ["tasks.jsonl"]
    assert record.settings["seeds"] == [0]
    assert (record.settings["samples"], record.settings["temperature"]) == (1, 0.0)
    assert record.robustness is not None
    assert record.divergence is not None
    assert record.rescored is None


def test_a_run_of_schema_1_is_reported(run: Path) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    assert "t/add_1" in html
    assert "greedy" in html
    assert (run / "report.md").is_file()
    found = read_run(run)
    render_table(found.record)
    [lost, gained] = find_flips(found)
    assert lost.reference is not None
    assert "return value + 1" in lost.reference.program
    assert gained.kind == "gained"


def test_what_is_unknown_is_passed_over(run: Path) -> None:
    record = json.loads((run / RECORD).read_bytes())
    record |= {"moonlight": 3}
    record["correctness"][0]["outcomes"][0]["colour"] = "red"
    (run / RECORD).write_text(json.dumps(record))
    assert read_record(run) == read_record(GOLDEN)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, 99])
def test_another_version_is_refused_in_words(run: Path, version: int) -> None:
    (run / RECORD).write_text(json.dumps({"schema_version": version}))
    with pytest.raises(InputError, match=f"schema version {version}, this lichen reads 1 to"):
        read_record(run)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.pop("settings"),
        lambda record: record.update(settings=3),
        lambda record: record.update(correctness=[{}]),
        lambda record: record.update(correctness=None),
        lambda record: record["correctness"][0].update(outcomes="none"),
        lambda record: record.update(verdict={}),
    ],
    ids=["no settings", "settings", "axis", "no axes", "outcomes", "verdict"],
)
def test_a_record_of_schema_1_that_is_none_is_one_error(run: Path, spoil: object) -> None:
    record = json.loads((run / RECORD).read_bytes())
    spoil(record)  # type: ignore[operator]
    (run / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match="not a record of a run"):
        read_record(run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-40], "line 25: the file is cut off in the middle"),
        (lambda data: data.replace(b'{"role"', b'{"rule"', 3), "line 1: not a completion"),
        (lambda data: b"\xff\xfe\n" + data, "line 1: not a completion"),
    ],
    ids=["torn", "field", "bytes"],
)
def test_a_line_that_is_no_answer_is_named(run: Path, change: object, words: str) -> None:
    path = run / COMPLETIONS
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    number = len(path.read_bytes().split(b"\n"))
    with pytest.raises(InputError, match=words.replace("25", str(number))):
        list(read_completions(run))


def test_answers_that_are_gone_are_an_error(run: Path) -> None:
    (run / COMPLETIONS).unlink()
    with pytest.raises(InputError, match="the answers of this run are gone"):
        list(read_completions(run))
