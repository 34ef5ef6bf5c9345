"""Whole runs with models made of functions, real tasks and the real sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from tests.verify.fakes import MACHINE, FakeModel, write_tasks

from lichen.errors import InputError
from lichen.verify.examine import Probes, examine
from lichen.verify.marking import Work
from lichen.verify.progress import Silent
from lichen.verify.reader import COMPLETIONS, RECORD, read_completions, read_record
from lichen.verify.record import Record, Resources
from lichen.verify.run import RunFolder
from lichen.verify.settings import Settings

PROBES = Probes(machine=lambda: MACHINE)


def run_both(
    folder: Path, reference: FakeModel, candidate: FakeModel, tasks: Path, **settings: object
) -> Record:
    chosen = Settings(tasks=(str(tasks),), **settings)  # type: ignore[arg-type]
    with RunFolder(folder, "s", "t") as run:
        return examine(reference, candidate, run, chosen, PROBES, command="test", progress=Silent())


def test_a_model_against_itself_is_accepted_without_a_flip(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 100)
    model = FakeModel("same", wrong=frozenset(range(0, 100, 3)))
    record = run_both(tmp_path / "run", model, model, tasks, robustness_tasks=8)
    [axis] = record.correctness
    assert record.verdict.decision == "accept"
    assert axis.lost == axis.gained == []
    assert record.robustness is not None
    assert all(p.lost == p.gained == [] for p in record.robustness.perturbations)
    assert model.opened == 2, "the same model has to be asked twice"


def test_a_broken_model_is_rejected(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 40)
    broken = FakeModel("broken", wrong=frozenset(range(12)))
    record = run_both(tmp_path / "run", FakeModel("good"), broken, tasks, robustness_tasks=0)
    assert record.verdict.decision == "reject"
    assert len(record.correctness[0].lost) == 12
    assert record.robustness is None


def test_five_tasks_decide_nothing(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 5)
    record = run_both(tmp_path / "run", FakeModel("a"), FakeModel("b"), tasks)
    assert record.verdict.decision == "undecided"
    assert "tasks in all would decide" in record.verdict.summary


def test_tasks_that_nobody_solves_are_no_evidence(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 100)
    hopeless = FakeModel("h", wrong=frozenset(range(100)))
    record = run_both(tmp_path / "run", hopeless, hopeless, tasks, robustness_tasks=0)
    assert record.verdict.decision == "undecided"


def test_a_robust_loss_alone_rejects(tmp_path: Path) -> None:
    class Brittle(FakeModel):
        def answer(self, prompt: str) -> str:
            return "    return None\n" if "VAR_0" in prompt else super().answer(prompt)

    tasks = write_tasks(tmp_path / "t.jsonl", 100)
    record = run_both(tmp_path / "run", FakeModel("a"), Brittle("b"), tasks)
    assert record.correctness[0].decision == "accept"
    assert record.robustness is not None
    assert record.robustness.decision == record.verdict.decision == "reject"
    one = {p.name: p for p in record.robustness.perturbations}["rename_variable"]
    assert (one.robust_reference, one.robust_candidate) == (one.count, 0)
    assert one.nominal_candidate == one.count


def test_a_task_whose_reference_fails_is_left_out_and_named(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 6, broken=[2])
    record = run_both(tmp_path / "run", FakeModel("a"), FakeModel("b"), tasks)
    [axis] = record.correctness
    assert axis.count == 5
    assert [e.task for e in axis.excluded] == ["t/add_2"]
    assert any("1 task left out" in warning for warning in record.verdict.warnings)


def test_a_set_of_broken_tasks_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 2, broken=[0, 1])
    with pytest.raises(InputError, match="none of its 2 tasks"):
        run_both(tmp_path / "run", FakeModel("a"), FakeModel("b"), tasks)
    assert not (tmp_path / "run").exists()


def test_each_prompt_is_asked_once_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 6)
    models = FakeModel("a"), FakeModel("b")
    run_both(tmp_path / "run", *models, tasks)
    assert len(models[0].asked) == len(set(models[0].asked))
    again = FakeModel("a"), FakeModel("b")
    run_both(tmp_path / "run", *again, tasks)
    assert [m.opened for m in again] == [0, 0]


def test_the_files_hold_everything_that_was_scored(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 6)
    record = run_both(tmp_path / "run", FakeModel("a"), FakeModel("b", frozenset({1})), tasks)
    assert read_record(tmp_path / "run") == record
    rows = list(read_completions(tmp_path / "run"))
    keys = [(r.role, r.tasks, r.task, r.perturbation, r.seed, r.sample) for r in rows]
    assert len(set(keys)) == len(keys) == record.completions
    plain = {(r.role, r.task): r.verdict for r in rows if r.perturbation is None}
    for outcome in record.correctness[0].outcomes:
        assert [plain["reference", outcome.task]] == outcome.reference
        assert [plain["candidate", outcome.task]] == outcome.candidate


def test_chat_prompts_are_used_where_both_models_have_a_template(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 2)
    a, b = FakeModel("a", has_chat=True), FakeModel("b", has_chat=True)
    assert run_both(tmp_path / "1", a, b, tasks).settings["style"] == "chat"
    assert all("<user>" in prompt for prompt in a.asked)
    c = FakeModel("c")
    assert run_both(tmp_path / "2", a, c, tasks).settings["style"] == "completion"


def test_resources_are_told_what_the_unperturbed_work_took(tmp_path: Path) -> None:
    seen: dict[str, Work] = {}

    def resources(work: object) -> Resources:
        seen.update(work)  # type: ignore[call-overload]
        return Resources(reference={}, candidate={}, assumptions=[])

    tasks = write_tasks(tmp_path / "t.jsonl", 6)
    with RunFolder(tmp_path / "run", "s", "t") as run:
        examine(
            FakeModel("a"),
            FakeModel("b", frozenset({1})),
            run,
            Settings(tasks=(str(tasks),)),
            Probes(machine=lambda: MACHINE, resources=resources),
            command="test",
            progress=Silent(),
        )
    assert seen == {"reference": Work(60, 6), "candidate": Work(60, 5)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"margin": 0.0}, "margin"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seeds": ()}, "seed"),
        ({"robustness_tasks": -1}, "robustness"),
        ({"perturbations": ("nonsense",)}, "nonsense"),
        ({"samples": 0}, "0 samples"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": 0.9}, "changes nothing at temperature 0"),
        ({"sampling_seed": -1}, "sampling seed is -1"),
        ({"samples": 5}, "5 times the same greedy answer"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 2)
    with pytest.raises(InputError, match=words):
        run_both(tmp_path / "run", FakeModel("a"), FakeModel("b"), tasks, **settings)
    assert not (tmp_path / "run").exists()


CHILD = """
import sys
from pathlib import Path
from tests.verify.fakes import FakeModel
from tests.verify.test_examine import run_both
out, tasks, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
run_both(out, FakeModel("a", frozenset({1}), seconds), FakeModel("b", seconds=seconds), tasks)
"""


def child(out: Path, tasks: Path, seconds: float) -> list[str]:
    return [sys.executable, "-c", CHILD, str(out), str(tasks), str(seconds)]


def without_times(record: Path) -> dict[str, object]:
    content: dict[str, object] = msgspec.json.decode(record.read_bytes())
    return {k: v for k, v in content.items() if k not in ("created", "duration_seconds")}


def test_a_killed_run_goes_on_and_gives_the_same_record(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 12)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(child(killed, tasks, 0.02), env=environment)
    cache = killed / "cache.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if cache.exists() and cache.read_bytes().count(b"\n") >= 15:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    answered = cache.read_bytes().count(b"\n")
    assert answered >= 15
    assert not (killed / RECORD).exists()
    for folder in (killed, whole):
        subprocess.run(child(folder, tasks, 0), env=environment, check=True)
    assert without_times(killed / RECORD) == without_times(whole / RECORD)
    assert (killed / COMPLETIONS).read_bytes() == (whole / COMPLETIONS).read_bytes()
    assert cache.read_bytes().count(b"\n") == (whole / "cache.jsonl").read_bytes().count(b"\n")


def test_a_run_that_fails_leaves_the_earlier_record_whole(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 4)
    run_both(tmp_path / "run", FakeModel("a"), FakeModel("b"), tasks)
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.name[0] != "."}

    def fail(count: int) -> None:
        raise KeyboardInterrupt

    failing = FakeModel("a", after=fail)
    with pytest.raises(KeyboardInterrupt):
        run_both(tmp_path / "run", failing, FakeModel("b"), tasks, max_tokens=64)
    after = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.name[0] != "."}
    assert {n: b for n, b in after.items() if n != "cache.jsonl"} == {
        n: b for n, b in before.items() if n != "cache.jsonl"
    }
    assert after["cache.jsonl"].startswith(before["cache.jsonl"])


def test_what_one_model_has_no_room_for_is_left_out_for_both(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 8)
    longest = max(len(prompt(line)) for line in tasks.read_text().splitlines()[:5])
    lines = [
        line.replace("as a number", "as a rather long number")
        for line in tasks.read_text().splitlines()[5:]
    ]
    tasks.write_text("\n".join([*tasks.read_text().splitlines()[:5], *lines]) + "\n")
    short = FakeModel("b", longest=longest)
    wide = FakeModel("a")
    record = run_both(tmp_path / "run", wide, short, tasks, robustness_tasks=8)
    [axis] = record.correctness
    assert [e.task for e in axis.excluded] == ["t/add_5", "t/add_6", "t/add_7"]
    assert all(e.reason.startswith("too long for the candidate: ") for e in axis.excluded)
    assert axis.count == 5
    assert record.robustness is not None
    half = {p.name: p for p in record.robustness.perturbations}["rename_variable"]
    assert half.count == 0
    assert len(half.excluded) == 5, "half of the body makes these too long as well"
    assert all(len(asked) <= longest for asked in (*wide.asked, *short.asked))


def test_nothing_short_enough_is_an_error(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 3)
    with pytest.raises(InputError, match=r"none of its 3 tasks.*too long for the reference"):
        run_both(tmp_path / "run", FakeModel("a", longest=9), FakeModel("b"), tasks)


def prompt(line: str) -> str:
    return str(msgspec.json.decode(line)["prompt"])
