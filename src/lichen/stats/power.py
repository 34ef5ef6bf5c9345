"""What a number of tasks can show, and how many would decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from lichen.stats.interval import z_value


def smallest_detectable_drop(
    n: int, disagreement: float, power: float = 0.8, alpha: float = 0.05, step: float = 1.0
) -> float:
    """Smallest true drop that n pairs show (McNemar, two-sided alpha) with this power.

    Connor 1987, Biometrics 43:207, solved for the difference; ``disagreement`` is the share of
    discordant pairs.  A drop cannot be larger than the disagreement, so where more would be
    needed the disagreement is taken to be the drop itself: every flip a loss.

    For several samples of each task ``disagreement`` is the mean squared difference, and
    ``step`` the size of a typical difference, in whose units a drop comes.
    """
    if n < 1 or not 0 <= disagreement <= 1:
        raise ValueError(f"needs n >= 1 and disagreement in [0, 1]: {n}, {disagreement}")
    z_alpha, z_power = z_value(1 - alpha / 2), z_value(power)

    def shown(drop: float) -> bool:
        square = max(disagreement, step * drop, drop * drop)
        noise = z_alpha * math.sqrt(square) + z_power * math.sqrt(square - drop * drop)
        return drop * math.sqrt(n) >= noise

    return _bisect(shown, 0.0, 1.0)


def tasks_needed(
    drop: float, variance: float, n: int, margin: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """How many tasks would decide, with this power, if tasks went on to differ as the n seen.

    The smaller of the numbers that would accept and that would reject, from the mean ``drop``
    and the ``variance`` of the tasks' differences.  Rejecting takes at least six tasks, the
    fewest losses with which an exact paired test can reach 0.05.
    """
    counts = [
        max(fewest_to_accept(margin, alpha), _sample_size(variance, margin - drop, alpha, power)),
        max(1 - math.log2(alpha), _sample_size(variance, drop, alpha / 2, power)),
    ]
    return max(n + 1, math.ceil(min(counts)))


def fewest_to_accept(margin: float, alpha: float) -> float:
    """Tasks from which on no loss among them rules a drop of the margin out: 99 for 3 points.

    With such a drop, and every flip a loss, n tasks show none with chance (1 - margin)^n.
    """
    return math.log(alpha) / math.log1p(-margin)


@lru_cache(maxsize=4096)
def chance_of_so_few(losses: int, n: int, share: float) -> float:
    """Binomial chance of at most so many losses in n tasks, when this share is lost."""
    return sum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(i + 1)
            - math.lgamma(n - i + 1)
            + i * math.log(share)
            + (n - i) * math.log1p(-share)
        )
        for i in range(losses + 1)
    )


def _sample_size(variance: float, gap: float, alpha: float, power: float) -> float:
    """Pairs after which a difference this far from its bound is told apart from it."""
    if gap <= 0:
        return math.inf
    return (z_value(1 - alpha) + z_value(power)) ** 2 * variance / gap**2


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``holds`` turns true between low (false) and high; high itself if it never does."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
