"""Axis 1: is the candidate as correct as the reference?  pass@1, paired by task."""

from __future__ import annotations

from collections.abc import Sequence

from lichen import stats
from lichen.tasks import TaskSet
from lichen.verify.questions import Answer
from lichen.verify.record import Correctness, Decision, Exclusion, Interval, PassAt, TaskOutcome

#: pass@k is told for those k that there are samples for, and for all of them.
KS = (1, 10, 100)


def compare(
    part: TaskSet,
    style: str,
    reference: Sequence[Sequence[Answer]],
    candidate: Sequence[Sequence[Answer]],
    excluded: Sequence[Exclusion],
    *,
    margin: float,
) -> Correctness:
    """Both models' answers to the same questions, as shares, intervals and a decision.

    reference, candidate  [tasks][samples], as many samples of each task
    margin                the drop of pass@1 that is still acceptable, as a fraction
    """
    samples = len(reference[0])
    ids = [answers[0].question.task.id for answers in reference]
    before, after = _passed(reference), _passed(candidate)
    test = _test(before, after, samples, margin)
    pass_at = _pass_at(before, after, samples)
    return Correctness(
        tasks=part.name,
        source=part.source,
        style=style,
        samples=samples,
        count=len(ids),
        excluded=list(excluded),
        reference=pass_at[0].reference,
        candidate=pass_at[0].candidate,
        outcomes=[
            TaskOutcome(task=task, reference=_verdicts(r), candidate=_verdicts(c))
            for task, r, c in zip(ids, reference, candidate, strict=True)
        ],
        lost=[task for task, r, c in zip(ids, before, after, strict=True) if c < r],
        gained=[task for task, r, c in zip(ids, before, after, strict=True) if c > r],
        pass_at=pass_at,
        test=test.test,
        p_value=test.p_value,
        difference=interval(test.interval),
        margin=margin,
        decision=_decision(test),
        reason=test.reason,
        smallest_detectable_drop=test.smallest_drop,
        tasks_needed=test.tasks_needed if test.sensitive else None,
        forgeable=sorted(
            {
                answer.question.task.id
                for answers in (*reference, *candidate)
                for answer in answers
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


def _passed(side: Sequence[Sequence[Answer]]) -> list[int]:
    """How many answers to each task passed."""
    return [sum(answer.passed for answer in answers) for answers in side]


def _verdicts(answers: Sequence[Answer]) -> list[str]:
    return [answer.result.verdict for answer in answers]


def _test(
    before: Sequence[int], after: Sequence[int], samples: int, margin: float
) -> stats.NonInferiority:
    """Samples of one task are not independent pairs: what is paired are the tasks' shares."""
    if samples > 1:
        shares = [[passed / samples for passed in side] for side in (before, after)]
        return stats.paired_means(*shares, margin=margin)
    pairs = list(zip(before, after, strict=True))
    return stats.non_inferiority(
        *(pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0))), margin=margin
    )


def _pass_at(before: Sequence[int], after: Sequence[int], samples: int) -> list[PassAt]:
    """pass@k with its intervals, all over tasks: the score interval never shrinks to a point."""
    found = []
    for k in sorted({k for k in (*KS, samples) if k <= samples}):
        sides = [stats.mean_pass_at_k([samples] * len(side), side, k) for side in (before, after)]
        chances = [[stats.pass_at_k(samples, c, k) for c in side] for side in (before, after)]
        differences = [c - r for r, c in zip(*chances, strict=True)]
        change = stats.score_interval(differences, bounds=(-1.0, 1.0), method="score, over tasks")
        found.append(
            PassAt(
                k=k,
                reference=interval(sides[0]),
                candidate=interval(sides[1]),
                difference=interval(change),
            )
        )
    return found


def _decision(test: stats.NonInferiority) -> Decision:
    """An acceptance by tasks that could not have shown a loss is no evidence."""
    if test.decision == "accept" and not test.sensitive:
        return "undecided"
    return test.decision
