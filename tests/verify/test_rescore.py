"""Scoring again what a run left behind, without any model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import msgspec
import pytest
from tests.report.fixture import _resources
from tests.verify.fakes import Wavering, write_tasks
from tests.verify.test_examine import PROBES
from tests.verify.test_reader import GOLDEN

from lichen.again import rescore
from lichen.errors import InputError
from lichen.remote.dialect import messages_as_prompt
from lichen.tasks import load, render
from lichen.verify.asked import fits
from lichen.verify.examine import Probes, examine
from lichen.verify.progress import Silent
from lichen.verify.questions import Question
from lichen.verify.reader import COMPLETIONS, RECORD, read_completions, read_record
from lichen.verify.record import Record, Resources
from lichen.verify.run import RunFolder
from lichen.verify.settings import Settings

#: What scoring again makes anew.
TIMES = {"created": "", "duration_seconds": 0.0, "command": "", "rescored": None}


def same_but_times(record: Record) -> Record:
    return msgspec.structs.replace(record, **TIMES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with samples, robustness and resources, beside its tasks."""
    place = tmp_path_factory.mktemp("finished")
    tasks = write_tasks(place / "t.jsonl", 6, broken=[5])
    settings = Settings(
        tasks=(str(tasks),),
        samples=3,
        temperature=0.5,
        robustness_tasks=2,
        perturbations=("camel_case", "butter_fingers", "rename_variable"),
    )
    probes = Probes(PROBES.machine, resources=lambda work: _resources())
    models = Wavering("a", share=0.8, has_chat=True), Wavering("b", share=0.4, has_chat=True)
    with RunFolder(place / "run", "s", "t") as run:
        examine(*models, run, settings, probes, command="test", progress=Silent())
    return place


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of it; its tasks are where the record says, so they are moved back and forth."""
    copied = Path(copytree(finished, tmp_path / "place"))
    record = copied / "run" / RECORD
    record.write_text(record.read_text().replace(str(finished), str(copied)))
    return copied


def test_nothing_changes_where_nothing_changed(place: Path) -> None:
    before = read_record(place / "run")
    lines = (place / "run" / COMPLETIONS).read_bytes()
    after = rescore(place / "run", out=place / "again")
    assert same_but_times(after) == same_but_times(before)
    assert after.rescored is not None
    assert (after.rescored.created, after.rescored.changed) == (before.created, [])
    assert after.rescored.judged == before.completions == len(lines.splitlines())
    assert (place / "again" / COMPLETIONS).read_bytes() == lines
    assert (place / "again" / "report.html").is_file()
    assert read_record(place / "run") == before


def test_it_can_be_done_in_place_and_again(place: Path) -> None:
    before = read_record(place / "run")
    for _ in range(2):
        after = rescore(place / "run")
        assert read_record(place / "run") == after
        assert same_but_times(after) == same_but_times(before)


def test_a_wrong_verdict_is_righted_and_told(place: Path) -> None:
    path = place / "run" / COMPLETIONS
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    lied = next(row for row in rows if row["verdict"] == "passed" and row["perturbation"] is None)
    lied |= {"verdict": "timeout", "program": "while True: pass"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = read_record(place / "run")
    after = rescore(place / "run")
    assert after.rescored is not None
    [change] = after.rescored.changed
    assert (change.role, change.task, change.sample) == (lied["role"], lied["task"], lied["sample"])
    assert (change.before, change.after) == ("timeout", "passed")
    assert same_but_times(after).correctness == before.correctness
    assert read_record(place / "run") == after


def edit(number: int, **changes: str) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        path = place / "t.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows[number] |= changes
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return change


def drop(number: int) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        path = place / "t.jsonl"
        lines = path.read_text().splitlines()
        del lines[number]
        path.write_text("\n".join(lines) + "\n")

    return change


NEW_PROMPT = 'def add_3(value):\n    """Return the value and 3, as a number."""\n'
DIFFERENT = {
    "tests": (edit(3, test="assert candidate(5) == 8"), "t/add_3 has other tests"),
    "prompt": (edit(3, prompt=NEW_PROMPT), "t/add_3 has another prompt"),
    "gone": (drop(3), "t/add_3 is no longer in t"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_tasks_that_changed_are_named_and_nothing_is_done(place: Path, what: str) -> None:
    change, words = DIFFERENT[what]
    change(place)
    before = {path.name: path.read_bytes() for path in (place / "run").iterdir()}
    for out in (None, place / "again"):
        with pytest.raises(InputError, match=words):
            rescore(place / "run", out=out)
    assert {path.name: path.read_bytes() for path in (place / "run").iterdir()} == before
    assert not (place / "again").exists()


def test_force_judges_by_the_tests_of_today(place: Path) -> None:
    edit(3, test="assert candidate(1) == 4\nassert candidate(0) == 3\nassert candidate(9) == 12")(
        place
    )
    edit(2, test="assert candidate(1) is not False")(place)  # now every answer passes
    after = rescore(place / "run", force=True)
    outcomes = {o.task: o for o in after.correctness[0].outcomes}
    assert outcomes["t/add_2"].candidate == ["passed"] * 3
    assert after.rescored is not None
    assert {c.task for c in after.rescored.changed} == {"t/add_2"}
    assert rescore(place / "run").rescored is not None, "the record is now of today's tasks"


def test_force_leaves_answers_to_another_prompt_out(place: Path) -> None:
    edit(3, prompt=NEW_PROMPT)(place)
    after = rescore(place / "run", force=True)
    [axis] = after.correctness
    reasons = {e.task: e.reason for e in axis.excluded}
    assert reasons["t/add_3"] == "its prompt is not the one that was answered"
    assert axis.count == 4
    assert len(list(read_completions(place / "run"))) == after.completions


def test_what_is_solved_otherwise_has_its_share_of_the_energy(place: Path) -> None:
    edit(2, test="assert candidate(1) is not False")(place)
    before, solved = read_record(place / "run").resources, passed(place / "run")
    after = rescore(place / "run", force=True).resources
    assert before is not None
    assert after is not None
    factor = solved / passed(place / "run")
    assert factor < 1
    for name in ("energy_per_solved_task", "co2_per_solved_task"):
        old, new = before.candidate[name], after.candidate[name]
        assert old.low is not None
        assert (new.value, new.low) == pytest.approx((factor * old.value, factor * old.low))
    assert after.candidate["size"] == before.candidate["size"]


def passed(run: Path) -> int:
    rows = list(read_completions(run))
    return sum(
        row.verdict == "passed"
        for row in rows
        if row.role == "candidate" and row.perturbation is None
    )


@pytest.mark.parametrize("style", ["completion", "chat", "chat-open", "messages"])
def test_a_prompt_is_known_again_in_every_style(style: str, finished: Path) -> None:
    def messages(asked: list[dict[str, str]]) -> str:
        return messages_as_prompt(asked) if style == "messages" else asked[0]["content"]

    line = next(read_completions(finished / "run"))
    for task in load(str(finished / "t.jsonl")).tasks:
        put = render(task, "chat-open" if style == "messages" else style, messages)  # type: ignore[arg-type]
        asked = msgspec.structs.replace(line, prompt=put.text)
        assert fits(Question("t", task), asked)
        other = replace(task, prompt=task.prompt.replace("Return", "Give back"))
        assert not fits(Question("t", other), asked)


def cut(count: int) -> Callable[[bytes], bytes]:
    return lambda data: b"".join(data.splitlines(keepends=True)[:-count])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-9], r"line \d+: the file is cut off in the middle"),
        (cut(1), r"ends after line \d+, and \d+ answers were recorded"),
        (lambda data: data + data.splitlines()[0] + b"\n", r"line \d+: this answer is there"),
        (lambda data: b"", "ends after line 0"),
    ],
    ids=["torn", "cut", "twice", "empty"],
)
def test_a_file_that_is_not_whole_is_one_error(
    place: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    path = place / "run" / COMPLETIONS
    path.write_bytes(change(path.read_bytes()))
    record = (place / "run" / RECORD).read_bytes()
    with pytest.raises(InputError, match=words):
        rescore(place / "run")
    assert (place / "run" / RECORD).read_bytes() == record


def test_a_run_of_schema_1_is_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(copytree(GOLDEN, tmp_path / "run"))
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"may have other tests.*--force"):
        rescore(folder)
    before, after = read_record(GOLDEN), rescore(folder, force=True)
    assert after.rescored is not None
    assert after.rescored.changed == []
    assert after.correctness[0].outcomes == before.correctness[0].outcomes
    assert after.divergence == before.divergence
    assert rescore(folder).rescored is not None, "it is of today's schema now"


def test_a_cut_run_of_schema_1_is_found_out(tmp_path: Path) -> None:
    folder = Path(copytree(GOLDEN, tmp_path / "run"))
    (folder / COMPLETIONS).write_bytes(cut(1)((folder / COMPLETIONS).read_bytes()))
    with pytest.raises(InputError, match=r"candidate.s answer to .* is missing"):
        rescore(folder)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --out"):
        rescore(tmp_path)
    with pytest.raises(InputError, match=r"record\.json"):
        rescore(tmp_path, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_folder_is_not_written_to(place: Path) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty"):
        rescore(place / "run", out=place / "mine", force=True)
    assert [p.name for p in (place / "mine").iterdir()] == ["thesis.tex"]


def test_resources_that_were_not_taken_stay_so(place: Path) -> None:
    record = place / "run" / RECORD
    plain = json.loads(record.read_bytes()) | {"resources": None}
    record.write_text(json.dumps(plain))
    assert rescore(place / "run").resources is None
    assert isinstance(_resources(), Resources)
