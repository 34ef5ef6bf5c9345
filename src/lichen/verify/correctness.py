"""Axis 1: is the candidate as correct as the reference?  Greedy pass@1, paired by task."""

from __future__ import annotations

from collections.abc import Sequence

from lichen import stats
from lichen.verify.questions import Answer
from lichen.verify.record import Correctness, Decision, Exclusion, Interval, TaskOutcome


def compare(
    tasks: str,
    style: str,
    reference: Sequence[Answer],
    candidate: Sequence[Answer],
    excluded: Sequence[Exclusion],
    *,
    margin: float,
) -> Correctness:
    """Both models' answers to the same questions, as counts, intervals and a decision.

    `margin` is the drop of pass@1 that is still acceptable, as a fraction.
    """
    pairs = [(r.passed, c.passed) for r, c in zip(reference, candidate, strict=True)]
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    test = stats.non_inferiority(both, lost, gained, neither, margin=margin)
    ids = [answer.question.task.id for answer in reference]
    return Correctness(
        tasks=tasks,
        style=style,
        count=len(pairs),
        excluded=list(excluded),
        reference=interval(stats.wilson(both + lost, len(pairs))),
        candidate=interval(stats.wilson(both + gained, len(pairs))),
        outcomes=[
            TaskOutcome(task=task, reference=r.result.verdict, candidate=c.result.verdict)
            for task, r, c in zip(ids, reference, candidate, strict=True)
        ],
        lost=[task for task, pair in zip(ids, pairs, strict=True) if pair == (True, False)],
        gained=[task for task, pair in zip(ids, pairs, strict=True) if pair == (False, True)],
        mcnemar_p=test.mcnemar_p,
        difference=interval(test.interval),
        margin=margin,
        decision=_decision(test),
        reason=test.reason,
        smallest_detectable_drop=stats.smallest_detectable_drop(
            len(pairs), (lost + gained) / len(pairs)
        ),
        tasks_needed=test.tasks_needed if test.sensitive else None,
        forgeable=sorted(
            {
                answer.question.task.id
                for answer in (*reference, *candidate)
                if answer.result.forgeable and answer.passed
            }
        ),
    )


def interval(found: stats.Interval) -> Interval:
    """An interval as the record writes it."""
    return Interval(
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        method=found.method,
    )


def _decision(test: stats.NonInferiority) -> Decision:
    """An acceptance by tasks that could not have shown a loss is no evidence."""
    if test.decision == "accept" and not test.sensitive:
        return "undecided"
    return test.decision
