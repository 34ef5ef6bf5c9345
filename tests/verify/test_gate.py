"""The verdict, case by case."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lichen.verify import gate
from lichen.verify.record import (
    Correctness,
    Decision,
    Divergence,
    Interval,
    Robustness,
)

ANY = Interval(estimate=0.5, low=0.4, high=0.6, confidence=0.95, method="m")


def correctness(decision: Decision, **changes: Any) -> Correctness:
    made = Correctness(
        tasks="basics",
        style="chat",
        count=100,
        excluded=[],
        reference=ANY,
        candidate=ANY,
        outcomes=[],
        lost=["a"],
        gained=[],
        p_value=1.0,
        difference=ANY,
        margin=0.03,
        decision=decision,
        reason="because",
        smallest_detectable_drop=0.049,
        tasks_needed=240 if decision == "undecided" else None,
        forgeable=[],
    )
    return msgspec.structs.replace(made, **changes)


def robustness(decision: Decision) -> Robustness:
    return Robustness(
        tasks="basics",
        count=32,
        perturbations=[],
        reference_pass=ANY,
        candidate_pass=ANY,
        reference_robust_pass=ANY,
        candidate_robust_pass=ANY,
        reference_relative_drop=0.1,
        candidate_relative_drop=0.1,
        reference_flip_rate=0.1,
        candidate_flip_rate=0.1,
        difference=ANY,
        mcnemar_p=1.0,
        decision=decision,
        reason="robust because",
    )


def divergence(kld: float, top1: float) -> Divergence:
    return Divergence(
        text="t",
        text_sha256="",
        tokens=10,
        kld_mean=kld,
        kld_p99=kld,
        kld_max=kld,
        top1_agreement=top1,
        nll_reference=1,
        nll_candidate=1,
        nll_difference=0,
        nll_difference_se=0,
    )


@pytest.mark.parametrize(
    ("sets", "robust", "expected"),
    [
        (["accept"], "accept", "accept"),
        (["accept"], "undecided", "accept"),
        (["accept"], None, "accept"),
        (["accept"], "reject", "reject"),
        (["undecided"], "accept", "undecided"),
        (["undecided"], "reject", "reject"),
        (["reject"], "accept", "reject"),
        (["accept", "undecided"], "accept", "undecided"),
        (["accept", "reject"], "accept", "reject"),
        (["undecided", "reject"], None, "reject"),
    ],
)
def test_correctness_decides_and_robustness_can_reject(
    sets: list[Decision], robust: Decision | None, expected: Decision
) -> None:
    axis2 = robustness(robust) if robust else None
    verdict = gate.decide([correctness(d) for d in sets], axis2, divergence(0, 1), None)
    assert verdict.decision == expected


def test_divergence_warns_but_does_not_decide() -> None:
    verdict = gate.decide([correctness("accept")], robustness("accept"), divergence(0.2, 0.5), None)
    assert verdict.decision == "accept"
    assert len(verdict.warnings) == 2


@pytest.mark.parametrize("decision", ["accept", "reject", "undecided"])
def test_the_smallest_detectable_drop_is_always_told(decision: Decision) -> None:
    verdict = gate.decide([correctness(decision)], None, None, None)
    assert "4.9 points" in verdict.summary
    assert any("4.9 points" in reason for reason in verdict.reasons)


def test_undecided_says_how_many_tasks_would_decide() -> None:
    verdict = gate.decide([correctness("undecided")], None, None, None)
    assert "240 tasks in all" in verdict.summary


def test_of_several_sets_the_one_that_needs_most_is_named() -> None:
    sets = [
        correctness("undecided", tasks="humaneval", tasks_needed=336),
        correctness("undecided"),
        correctness("accept", tasks="mbpp", count=424),
    ]
    verdict = gate.decide(sets, None, None, None)
    assert "about 336 tasks like those of humaneval in all would decide" in verdict.summary


def test_what_was_not_tested_is_a_warning() -> None:
    told = " ".join(gate.decide([correctness("accept")], None, None, None).warnings)
    assert "Robustness was not tested" in told
    assert "was not measured" in told


def test_an_undecided_robustness_is_named_as_such() -> None:
    verdict = gate.decide([correctness("accept")], robustness("undecided"), divergence(0, 1), None)
    assert verdict.decision == "accept"
    assert "undecided on 32 tasks" in verdict.warnings[0]


@pytest.mark.parametrize(
    ("level", "unsafe", "word"), [("reduced", False, "'reduced'"), ("none", True, "UNSAFE")]
)
def test_a_sandbox_below_full_is_told(level: str, unsafe: bool, word: str) -> None:
    verdict = gate.decide(
        [correctness("accept")],
        robustness("accept"),
        divergence(0, 1),
        None,
        unsafe=unsafe,
        sandbox_level=level,
    )
    assert word in verdict.warnings[0]


def test_a_full_sandbox_and_a_clean_run_warn_of_nothing() -> None:
    verdict = gate.decide([correctness("accept")], robustness("accept"), divergence(0, 1), None)
    assert verdict.warnings == []


def test_forgeable_passes_are_told() -> None:
    verdict = gate.decide(
        [correctness("accept", forgeable=["x"])], robustness("accept"), divergence(0, 1), None
    )
    assert "forged" in verdict.warnings[0]
