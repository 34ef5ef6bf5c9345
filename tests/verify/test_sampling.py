"""Several samples of each task: how they are asked for, kept, scored and compared."""

from __future__ import annotations

from math import comb
from pathlib import Path

import pytest
from tests.verify.fakes import FakeModel, Wavering, write_tasks
from tests.verify.test_examine import run_both

from lichen import stats
from lichen.completion import Request
from lichen.tasks.prompting import Prompt
from lichen.tasks.task import Task
from lichen.verify.paper import UNPERTURBED
from lichen.verify.questions import Ask, Exam, Question
from lichen.verify.reader import read_completions
from lichen.verify.record import Record

SAMPLED = {"samples": 4, "temperature": 0.8, "top_p": 0.95, "robustness_tasks": 0}
PROMPT = Prompt("p", ("s",), "p")


def task(id: str) -> Task:
    return Task(id, "def f():\n", "f", "def f():\n    return 1\n", "assert f() == 1")


def seed(id: str, sample: int, sampling_seed: int = 0) -> int:
    exam = Exam("completion", 8, 0.8, 1.0, sampling_seed)
    return exam.request(Ask(Question("t", task(id)), sample), PROMPT).seed


def test_a_seed_is_of_the_task_the_sample_and_the_sampling_seed_alone() -> None:
    seeds = {seed(i, sample, s) for i in ("a", "b", "a1") for sample in range(20) for s in (0, 1)}
    assert len(seeds) == 3 * 20 * 2
    assert all(0 <= found < 2**31 for found in seeds)
    # By sha256sum: a change of the rule would make kept answers those of other seeds.
    assert (seed("a", 0), seed("a", 1), seed("a", 0, 1)) == (1252016353, 1495152192, 574522973)


def test_perturbed_questions_are_asked_greedily() -> None:
    exam = Exam("completion", 8, 0.8, 0.9, 3)
    greedy = Request("p", 8, stop=("s",))
    assert exam.request(Ask(Question("t", task("a"), "camel_case", 0)), PROMPT) == greedy
    assert exam.request(Ask(Question("t", task("a"), UNPERTURBED)), PROMPT) == greedy
    assert exam.request(Ask(Question("t", task("a"))), PROMPT).temperature == 0.8


def test_samples_of_a_prompt_follow_each_other_and_are_kept(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 3)
    model = Wavering("a")
    run_both(tmp_path / "run", model, FakeModel("b"), tasks, **SAMPLED)
    assert [(r.temperature, r.top_p) for r in model.requests] == [(0.8, 0.95)] * 12
    assert len({r.seed for r in model.requests}) == 12
    assert [r.prompt for r in model.requests] == sorted(r.prompt for r in model.requests)
    rows = [r for r in read_completions(tmp_path / "run") if r.role == "reference"]
    assert [(r.task, r.sample) for r in rows] == [
        (f"t/add_{number}", sample) for number in range(3) for sample in range(4)
    ]


def test_more_samples_ask_only_for_those_that_are_new(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 3)
    run_both(tmp_path / "run", FakeModel("a"), FakeModel("b"), tasks, **SAMPLED)
    for changes, new in (({"samples": 6}, 6), ({"sampling_seed": 1}, 12), ({"top_p": 1.0}, 12)):
        model = FakeModel("a")
        run_both(tmp_path / "run", model, FakeModel("b"), tasks, **(SAMPLED | changes))
        assert len(model.asked) == new


def test_a_model_against_itself_shows_no_flip_in_its_samples(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", 100)
    model = Wavering("same", share=0.7)
    record = run_both(tmp_path / "run", model, model, tasks, **(SAMPLED | {"samples": 2}))
    [axis] = record.correctness
    assert axis.lost == axis.gained == []
    assert 0.5 < axis.reference.estimate < 0.9
    assert record.verdict.decision == "accept"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """12 samples of 20 tasks: half of the reference's pass, a third of the candidate's."""
    place = tmp_path_factory.mktemp("samples")
    tasks = write_tasks(place / "t.jsonl", 20)
    reference, candidate = Wavering("a", share=0.5), Wavering("b", share=0.3)
    settings = SAMPLED | {"samples": 12, "robustness_tasks": 2, "perturbations": ("camel_case",)}
    return run_both(place / "run", reference, candidate, tasks, **settings)


def shares(record: Record, role: str) -> list[float]:
    verdicts = [getattr(outcome, role) for outcome in record.correctness[0].outcomes]
    assert {len(found) for found in verdicts} == {12}
    return [found.count("passed") / 12 for found in verdicts]


def test_tasks_are_compared_by_their_shares(compared: Record) -> None:
    [axis] = compared.correctness
    reference, candidate = shares(compared, "reference"), shares(compared, "candidate")
    test = stats.paired_means(reference, candidate, margin=0.03)
    assert (axis.p_value, axis.decision, axis.reason) == (
        test.p_value,
        test.decision,
        test.reason,
    )
    assert axis.test == "sign-flip permutation"
    assert axis.difference.estimate == pytest.approx(sum(candidate) / 20 - sum(reference) / 20)
    ids = [outcome.task for outcome in axis.outcomes]
    pairs = list(zip(ids, reference, candidate, strict=True))
    assert axis.lost == [i for i, r, c in pairs if c < r]
    assert axis.gained == [i for i, r, c in pairs if c > r] == []
    assert "less often" in compared.verdict.summary


def test_pass_at_k_is_the_unbiased_estimate(compared: Record) -> None:
    [axis] = compared.correctness
    assert [found.k for found in axis.pass_at] == [1, 10, 12]
    assert axis.reference == axis.pass_at[0].reference
    for role in ("reference", "candidate"):
        passed = [round(12 * share) for share in shares(compared, role)]
        for found in axis.pass_at:
            chance = [1 - comb(12 - c, found.k) / comb(12, found.k) for c in passed]
            side = getattr(found, role)
            assert side.estimate == pytest.approx(sum(chance) / 20)
            assert side.low <= side.estimate <= side.high
    assert axis.pass_at[0].difference.low < axis.pass_at[0].difference.estimate < 0


def test_robustness_is_held_against_greedy_answers(compared: Record) -> None:
    assert compared.robustness is not None
    assert compared.robustness.count == 2
    assert compared.robustness.reference_pass.estimate == 1
    assert compared.robustness.candidate_robust_pass.estimate == 1
    assert compared.settings["samples"] == 12
    assert compared.completions == 2 * (20 * 12 + 2 + 2)
