"""Statistics for paired pass/fail results: intervals, tests, power, and the three-way decision.

One task answered by two models is one pair.  A pair is ``both`` (both pass), ``lost`` (only the
reference passes), ``gained`` (only the candidate passes) or ``neither``.  Differences are always
candidate minus reference, as fractions: -0.05 is a drop of five points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np

Decision = Literal["accept", "reject", "undecided"]


@dataclass(frozen=True)
class Interval:
    """An estimate with the two-sided interval around it."""

    estimate: float
    low: float
    high: float
    confidence: float
    method: str


@dataclass(frozen=True)
class NonInferiority:
    """What a set of pairs says about "the candidate is at most ``margin`` worse".

    ``sensitive`` is False when the reference passes so few tasks that even a candidate that
    fails everything would stay within the margin: then an acceptance says nothing
    (ICH E10, section 1.5, "assay sensitivity").
    """

    decision: Decision
    reason: str
    interval: Interval
    mcnemar_p: float
    tasks_needed: int | None
    sensitive: bool


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that one of k samples passes, from c passes in n samples.

    Chen et al. 2021, arXiv 2107.03374, eq. 1: 1 - C(n-c, k) / C(n, k).
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@k needs 1 <= k <= n and 0 <= c <= n, not n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def wilson(passed: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for one proportion (Wilson 1927, doi 10.2307/2276774)."""
    if not (n >= 1 and 0 <= passed <= n):
        raise ValueError(f"wilson needs n >= 1 and 0 <= passed <= n, not {passed} of {n}")
    z = _two_sided_z(confidence)
    p = passed / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the exact limits are 0 and 1; rounding must not move them.
    low = 0.0 if passed == 0 else (centre - spread) / scale
    high = 1.0 if passed == n else (centre + spread) / scale
    return Interval(p, low, high, confidence, "Wilson score")


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact p-value that losses and gains are equally likely (McNemar 1947).

    The discordant pairs are coin tosses under that hypothesis: twice the smaller binomial tail.
    """
    if min(lost, gained) < 0:
        raise ValueError(f"counts cannot be negative: lost={lost}, gained={gained}")
    n = lost + gained
    # Exact integers, and one division: no overflow however many pairs there are.
    ways = tail = 1
    for i in range(min(lost, gained)):
        ways = ways * (n - i) // (i + 1)  # n choose i + 1
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


def newcombe_paired(
    both: int, lost: int, gained: int, neither: int, confidence: float = 0.95
) -> Interval:
    """Newcombe's square-and-add interval for the paired difference.

    Method 10 of Newcombe 1998, Statistics in Medicine 17:2635 (Wilson limits of both
    proportions, joined through a continuity-corrected correlation).  For comparison with
    published figures; decisions use `tango_paired`.
    """
    n = _pairs(both, lost, gained, neither)
    candidate = wilson(both + gained, n, confidence)
    reference = wilson(both + lost, n, confidence)
    phi = _corrected_phi(both, lost, gained, neither)

    def spread(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down * down - 2 * phi * down * up + up * up))

    estimate = (gained - lost) / n
    low = estimate - spread(candidate.estimate - candidate.low, reference.high - reference.estimate)
    high = estimate + spread(
        candidate.high - candidate.estimate, reference.estimate - reference.low
    )
    return Interval(
        estimate, max(-1.0, low), min(1.0, high), confidence, "Newcombe 1998, method 10"
    )


def tango_paired(lost: int, gained: int, n: int, confidence: float = 0.95) -> Interval:
    """Tango's score interval for the paired difference (Tango 1998, Stat. Med. 17:891).

    All differences that a score test of the discordant pairs does not refuse.  Concordant
    pairs count only through n, so it is the same at every pass rate; without any flip it is
    +-z^2 / (n + z^2), never a point.  One of the intervals that Fagerland, Lydersen and Laake
    recommend (2014, Stat. Med. 33:2850, doi 10.1002/sim.6148).

    Decisions rest on this one because flips are rare here.  Exact chance that the lower end of a
    90% interval clears a true drop of 3 points (5% at most is promised), every flip a loss, half
    of the tasks solved, 120 / 164 tasks: Tango 2.6% / 4.1%, Newcombe's method 10 12.2% / 12.8%.
    """
    if not (min(lost, gained) >= 0 and n >= 1 and lost + gained <= n):
        raise ValueError(
            f"tango_paired needs 0 <= lost + gained <= n: lost={lost}, gained={gained}, n={n}"
        )
    low, high = _tango_limits(lost, gained, n, confidence)
    return Interval((gained - lost) / n, low, high, confidence, "Tango 1998, score")


def non_inferiority(
    both: int,
    lost: int,
    gained: int,
    neither: int,
    *,
    margin: float = 0.03,
    alpha: float = 0.05,
) -> NonInferiority:
    """Is the candidate at most ``margin`` worse than the reference?

    Accept when the lower end of the interval lies above -margin, on no fewer tasks than accept
    without a flip: gains on a handful of tasks do not show that nothing is lost on the others.
    Otherwise reject when its upper end lies below zero and McNemar's exact two-sided test,
    p <= alpha, confirms the loss.
    Otherwise undecided, with the number of tasks that would decide.  Either end of the interval
    is a one-sided statement with error alpha, so its confidence is 1 - 2 alpha: two one-sided
    tests (Schuirmann 1987, doi 10.1007/BF01068419).
    """
    n = _pairs(both, lost, gained, neither)
    if not (0 < margin < 1 and 0 < alpha < 0.5):
        raise ValueError(f"margin must be in (0, 1) and alpha in (0, 0.5): {margin}, {alpha}")
    interval = tango_paired(lost, gained, n, 1 - 2 * alpha)
    p_value = mcnemar_exact(lost, gained)
    decision: Decision = "undecided"
    if interval.low > -margin and n >= _fewest_to_accept(margin, alpha):
        decision = "accept"
    elif interval.high < 0 and p_value <= alpha:
        decision = "reject"
    needed = tasks_needed(lost, gained, n, margin, alpha=alpha) if decision == "undecided" else None
    sensitive = (both + lost) / n > margin
    reason = _reason(decision, lost, gained, n, margin, alpha, interval, needed, sensitive)
    return NonInferiority(decision, reason, interval, p_value, needed, sensitive)


def smallest_detectable_drop(
    n: int, disagreement: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest true drop that n pairs show (McNemar, two-sided alpha) with this power.

    Connor 1987, Biometrics 43:207, solved for the difference; ``disagreement`` is the share of
    discordant pairs.  A drop cannot be larger than the disagreement, so where more would be
    needed the disagreement is taken to be the drop itself: every flip a loss.
    """
    if n < 1 or not 0 <= disagreement <= 1:
        raise ValueError(f"needs n >= 1 and disagreement in [0, 1]: {n}, {disagreement}")
    z_alpha, z_power = _z(1 - alpha / 2), _z(power)

    def shown(drop: float) -> bool:
        discordant = max(disagreement, drop)
        noise = z_alpha * math.sqrt(discordant)
        noise += z_power * math.sqrt(discordant - drop * drop)
        return drop * math.sqrt(n) >= noise

    return _bisect(shown, 0.0, 1.0)


def tasks_needed(
    lost: int, gained: int, n: int, margin: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """How many tasks would decide, with this power, if flips went on at the rates seen.

    The smaller of the numbers that would accept and that would reject.  Rejecting takes at
    least six tasks, the fewest losses with which McNemar's exact test can reach 0.05.
    """
    drop = (lost - gained) / n
    variance = (lost + gained) / n - drop * drop
    counts = [
        max(
            _fewest_to_accept(margin, alpha),
            _sample_size(variance, margin - drop, alpha, power),
        ),
        max(1 - math.log2(alpha), _sample_size(variance, drop, alpha / 2, power)),
    ]
    return max(n + 1, math.ceil(min(counts)))


def paired_bootstrap(
    reference: Sequence[float],
    candidate: Sequence[float],
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over tasks for the mean difference of per-task scores.

    For several samples of each task: average them per task first, since samples of one task
    are not independent pairs (Efron and Tibshirani 1993, chapter 13).
    """
    difference = np.asarray(candidate, np.float64) - np.asarray(reference, np.float64)  # [tasks]
    if difference.ndim != 1 or difference.size == 0:
        raise ValueError("paired_bootstrap needs two equally long, non-empty lists of scores")
    rng = np.random.default_rng(seed)
    n = difference.size
    chunk = max(1, 2_000_000 // n)  # bounds the index array at 16 MB
    means = np.concatenate(
        [
            difference[rng.integers(0, n, (min(chunk, resamples - start), n))].mean(axis=1)
            for start in range(0, resamples, chunk)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(
        float(difference.mean()), float(low), float(high), confidence, "bootstrap over tasks"
    )


def _pairs(both: int, lost: int, gained: int, neither: int) -> int:
    n = both + lost + gained + neither
    if min(both, lost, gained, neither) < 0 or n == 0:
        raise ValueError(f"not counts of pairs: {both}, {lost}, {gained}, {neither}")
    return n


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _two_sided_z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), not {confidence}")
    return _z((1 + confidence) / 2)


def _corrected_phi(both: int, lost: int, gained: int, neither: int) -> float:
    """Correlation of the pairs; a positive one is pulled towards 0 by half a pair's weight."""
    product = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if product == 0:
        return 0.0
    cross = float(both * neither - lost * gained)
    if cross > 0:
        cross = max(0.0, cross - (both + lost + gained + neither) / 2)
    return cross / math.sqrt(product)


@lru_cache(maxsize=4096)
def _tango_limits(lost: int, gained: int, n: int, confidence: float) -> tuple[float, float]:
    z = _two_sided_z(confidence)
    estimate = (gained - lost) / n
    low = _bisect(lambda d: _tango_score(lost, gained, n, d) < z, -1.0, estimate)
    high = _bisect(lambda d: _tango_score(lost, gained, n, d) <= -z, estimate, 1.0)
    return low, high


def _tango_score(lost: int, gained: int, n: int, difference: float) -> float:
    """Score statistic for H0: P(gained) - P(lost) = difference (Tango 1998, eqs. 18-20).

    ``q`` is the most likely P(lost) under H0, the larger root of a q^2 + b q + c = 0.
    """
    a = 2.0 * n
    b = (2 * n - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    q = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * q + difference * (1 - difference))
    deviation = gained - lost - n * difference
    if variance <= 1e-12 * n:  # H0 leaves no flips at all: only exact agreement fits it
        return 0.0 if abs(deviation) < 1e-9 * n else math.copysign(math.inf, deviation)
    return deviation / math.sqrt(variance)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``holds`` turns true between low (false) and high; high itself if it never does."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _fewest_to_accept(margin: float, alpha: float) -> float:
    """Tasks from which on Tango's interval accepts without a single flip: 88 for 3 points."""
    z = _z(1 - alpha)
    return z * z * (1 - margin) / margin


def _sample_size(variance: float, gap: float, alpha: float, power: float) -> float:
    """Pairs after which a difference this far from its bound is told apart from it."""
    if gap <= 0:
        return math.inf
    return (_z(1 - alpha) + _z(power)) ** 2 * variance / gap**2


def _reason(
    decision: Decision,
    lost: int,
    gained: int,
    n: int,
    margin: float,
    alpha: float,
    interval: Interval,
    needed: int | None,
    sensitive: bool,
) -> str:
    """The decision in sentences, with the figures that carry it."""
    change = interval.estimate
    if lost == gained == 0:
        seen = f"Both models have the same verdict on all {n} tasks."
    else:
        moved = f"{'a drop' if change < 0 else 'a gain'} of {points(abs(change))}"
        seen = (
            f"Of {n} tasks the candidate lost {lost} and gained {gained}: "
            f"{moved if change else 'no change'}."
        )
    # A bound is rounded up: "at most 3 points" must not stand for 3.04.
    worst = points(max(0, math.ceil(-1000 * interval.low - 1e-6)) / 1000)
    sure = f"With {1 - alpha:.0%} confidence"
    allowed = f"the {points(margin)} allowed"
    if decision == "accept":
        told = f"{sure} the true drop is at most {worst}, within {allowed}."
        if interval.high < 0:
            told += " A loss is there, but a small one."
    elif decision == "reject":
        told = (
            f"{sure} the candidate is truly worse, by {points(-interval.high)} or more, and a "
            f"drop of up to {worst} cannot be ruled out; allowed are {points(margin)}."
        )
    elif interval.low > -margin:
        told = f"So few tasks cannot rule a loss out; {needed:,} would decide."
    else:
        told = (
            f"{sure} all that can be said is that the true drop is at most {worst}, more than "
            f"{allowed}; about {needed:,} tasks would decide if flips go on at this rate."
        )
    if not sensitive:
        told += (
            " The reference itself passes so few of these tasks that they could not have shown "
            "a larger drop: take easier tasks."
        )
    return f"{seen} {told}"


def points(fraction: float) -> str:
    """A share of tasks in words: 0.034 -> "3.4 points"."""
    text = f"{100 * fraction:.1f}".removesuffix(".0")
    return f"{text} point" if text == "1" else f"{text} points"
