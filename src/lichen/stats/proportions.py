"""How many pass: pass@k, and the interval around a pass rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lichen.stats.interval import Interval, two_sided_z
from lichen.stats.score import score_interval


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that one of k samples passes, from c passes in n samples.

    Chen et al. 2021, arXiv 2107.03374, eq. 1: 1 - C(n-c, k) / C(n, k).
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@k needs 1 <= k <= n and 0 <= c <= n, not n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def mean_pass_at_k(
    samples: Sequence[int], passed: Sequence[int], k: int, confidence: float = 0.95
) -> Interval:
    """pass@k of a task set, from how many samples of each task there are and how many passed.

    Samples of one task are alike, so tasks are what is counted: the score interval for the mean
    of the tasks' pass@k.  With one sample of each task it is Wilson's.
    """
    values = [pass_at_k(n, c, k) for n, c in zip(samples, passed, strict=True)]
    return score_interval(
        values, bounds=(0.0, 1.0), confidence=confidence, method="score, over tasks"
    )


def wilson(passed: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for one proportion (Wilson 1927, doi 10.2307/2276774)."""
    if not (n >= 1 and 0 <= passed <= n):
        raise ValueError(f"wilson needs n >= 1 and 0 <= passed <= n, not {passed} of {n}")
    z = two_sided_z(confidence)
    p = passed / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the exact limits are 0 and 1; rounding must not move them.
    low = 0.0 if passed == 0 else (centre - spread) / scale
    high = 1.0 if passed == n else (centre + spread) / scale
    return Interval(p, low, high, confidence, "Wilson score")
