"""The measures of robustness, on answers made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lichen.completion import Completion
from lichen.sandbox import Result
from lichen.tasks import Task
from lichen.verify import robustness
from lichen.verify.questions import Answer, Question
from lichen.verify.record import Exclusion
from lichen.verify.robustness import Plan, Trial

PLAIN = [
    Question("set", Task(str(i), "def f():\n", "f", "def f():\n    return 1\n", "assert f()"))
    for i in range(4)
]


def perturbed(question: Question, name: str, seed: int) -> Question:
    return Question("set", question.task, name, seed)


def trials(name: str, seeds: Sequence[int], tasks: Sequence[Question] = PLAIN) -> list[Trial]:
    return [Trial(q, q, perturbed(q, name, seed)) for q in tasks for seed in seeds]


#: camel_case is not random and applies to all; butter_fingers has two seeds on two tasks.
TRIALS = (*trials("butter_fingers", (0, 1), PLAIN[:2]), *trials("camel_case", (0,)))
PLAN = Plan(
    "set",
    (0, 1),
    TRIALS,
    {"butter_fingers": [Exclusion(task="2", reason="broken")], "camel_case": []},
)


def answers(failed: Sequence[Question]) -> dict[Question, Answer]:
    def one(question: Question) -> Answer:
        verdict = "failed" if question in failed else "passed"
        result = Result(verdict, "", 0.0, forgeable=False)  # type: ignore[arg-type]
        return Answer(question, "", Completion("", "eos", 1, 1), "", result)

    return {question: one(question) for question in PLAN.questions()}


def test_every_question_is_asked_once() -> None:
    questions = PLAN.questions()
    assert len(questions) == len(set(questions)) == 4 + 4 + 4


def test_counts_by_hand() -> None:
    first, second, third, fourth = PLAIN
    reference = answers([fourth, perturbed(fourth, "camel_case", 0)])
    candidate = answers(
        [
            perturbed(first, "butter_fingers", 1),
            second,
            perturbed(third, "camel_case", 0),
        ]
    )
    found = robustness.compare(PLAN, reference, candidate, margin=0.03)
    assert found.count == 4
    # Plain: the reference fails the fourth, the candidate the second.
    assert found.reference_pass.estimate == found.candidate_pass.estimate == 3 / 4
    # Under everything: the reference passes three, the candidate the second and the fourth.
    assert found.reference_robust_pass.estimate == 3 / 4
    assert found.candidate_robust_pass.estimate == 2 / 4
    assert found.reference_relative_drop == 0
    assert found.candidate_relative_drop == pytest.approx((3 - 2) / 3)
    # Pairs of task and perturbation: two of butter_fingers, four of camel_case.
    assert found.reference_flip_rate == 0
    assert found.candidate_flip_rate == pytest.approx(4 / 6)
    assert found.difference.estimate == -1 / 4
    assert found.decision == "undecided"
    fingers, camel = found.perturbations
    assert (fingers.count, fingers.seeds, camel.seeds) == (2, [0, 1], [0])
    assert [e.task for e in fingers.excluded] == ["2"]
    assert (fingers.robust_reference, fingers.robust_candidate) == (2, 1)
    assert (fingers.lost, fingers.gained) == (["0"], [])
    assert (camel.nominal_reference, camel.nominal_candidate) == (3, 3)
    assert (camel.lost, camel.gained) == (["2"], ["3"])
    assert (camel.flips_reference, camel.flips_candidate) == (0, 2)


def test_a_model_that_passes_nothing_has_no_relative_drop() -> None:
    nothing = answers(PLAN.questions())
    found = robustness.compare(PLAN, nothing, nothing, margin=0.03)
    assert found.candidate_relative_drop is None
    assert found.candidate_flip_rate == 0


def test_a_perturbation_that_only_broke_tasks_is_still_told() -> None:
    plan = Plan("set", (0,), tuple(trials("camel_case", (0,))), {**PLAN.excluded})
    assert plan.used == ["butter_fingers", "camel_case"]
