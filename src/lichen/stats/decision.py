"""Accept, reject or undecided: is the candidate at most a margin worse than the reference?

Accept when the lower end of the score interval lies above -margin, and a drop of the margin in
which every flip is a loss would show so small a loss in at most alpha of such sets.  That case is
exact, and the one where the interval's approximation is weakest: alone, it would accept in up to
6.9% of sets (88 tasks).  It also keeps gains on a handful of tasks from an acceptance.

Reject when the interval lies below zero and does not clear the margin, and the exact paired test,
p <= alpha, confirms the loss.  Otherwise undecided, with the number of tasks that would decide.

Either end of the interval is a one-sided statement with error alpha, so its confidence is
1 - 2 alpha: two one-sided tests (Schuirmann 1987, doi 10.1007/BF01068419).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lichen.stats.finding import Decision, NonInferiority, Test
from lichen.stats.interval import Interval
from lichen.stats.paired import mcnemar_exact, pairs, tango_paired
from lichen.stats.permutation import paired_differences, paired_permutation
from lichen.stats.power import chance_of_so_few, smallest_detectable_drop, tasks_needed
from lichen.stats.score import score_interval

Array = npt.NDArray[np.float64]


def non_inferiority(
    both: int,
    lost: int,
    gained: int,
    neither: int,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
) -> NonInferiority:
    """The decision on pairs that pass or fail: Tango's interval and McNemar's exact test."""
    n = pairs(both, lost, gained, neither)
    _refuse_impossible(margin, alpha)
    return _found(
        np.repeat([-1.0, 0.0, 1.0], [lost, both + neither, gained]),
        (both + lost) / n,
        tango_paired(lost, gained, n, 1 - 2 * alpha),
        "exact McNemar",
        mcnemar_exact(lost, gained),
        margin,
        alpha,
    )


def paired_means(
    reference: Sequence[float],
    candidate: Sequence[float],
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
    seed: int = 0,
) -> NonInferiority:
    """The decision on per-task shares of passes, from several samples of each task.

    The same question and the same rule: the score interval for the mean difference over tasks,
    which is Tango's when every task has one sample, and `paired_permutation`, which then is
    McNemar's exact test.  ``seed`` matters only to scores that are not pass fractions.
    """
    _refuse_impossible(margin, alpha)
    # Differences of equal fractions are one value, whatever the last bit of the subtraction.
    difference = np.round(paired_differences(reference, candidate), 12)
    interval = score_interval(
        difference, bounds=(-1.0, 1.0), confidence=1 - 2 * alpha, method="score, over tasks"
    )
    p_value = paired_permutation(reference, candidate, seed=seed)
    solved = float(np.mean(reference))
    return _found(difference, solved, interval, "sign-flip permutation", p_value, margin, alpha)


def _found(
    difference: Array,
    solved: float,
    interval: Interval,
    test: Test,
    p_value: float,
    margin: float,
    alpha: float,
) -> NonInferiority:
    """The finding from the tasks' differences [tasks] and the reference's mean score."""
    n, drop = difference.size, -interval.estimate
    square, size = float(np.mean(difference**2)), float(np.mean(np.abs(difference)))
    decision = _decide(n, interval, p_value, margin, alpha)
    undecided = decision == "undecided"
    return NonInferiority(
        decision=decision,
        interval=interval,
        n=n,
        lost=int((difference < 0).sum()),
        gained=int((difference > 0).sum()),
        margin=margin,
        test=test,
        p_value=p_value,
        smallest_drop=smallest_detectable_drop(n, square, step=square / size if size else 1.0),
        tasks_needed=(
            tasks_needed(drop, square - drop * drop, n, margin, alpha=alpha) if undecided else None
        ),
        sensitive=solved > margin,
    )


def accepts(n: int, drop: float, low: float, margin: float, alpha: float) -> bool:
    """Whether n tasks with this mean drop, and this lower end of the interval, accept."""
    lost = math.floor(max(0.0, n * drop) + 1e-9)  # in whole tasks
    return low > -margin and chance_of_so_few(lost, n, margin) <= alpha


def _decide(n: int, interval: Interval, p_value: float, margin: float, alpha: float) -> Decision:
    if accepts(n, -interval.estimate, interval.low, margin, alpha):
        return "accept"
    if interval.low <= -margin and interval.high < 0 and p_value <= alpha:
        return "reject"
    return "undecided"


def _refuse_impossible(margin: float, alpha: float) -> None:
    if not (0 < margin < 1 and 0 < alpha < 0.5):
        raise ValueError(f"margin must be in (0, 1) and alpha in (0, 0.5): {margin}, {alpha}")
