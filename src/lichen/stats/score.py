"""The score interval for the mean of bounded values: one idea behind three intervals.

A mean is believable when a score test does not refuse it.  The test measures how far the mean of
the values lies from it, in standard errors of the *most likely distribution that has this mean*:
the values seen, tilted (empirical likelihood, Owen 1988, doi 10.1093/biomet/75.2.237), and as
much of the nearer bound, though nobody saw it there, as tilting cannot reach.

- values 0 and 1: Wilson's interval for a proportion;
- values -1, 0 and 1: Tango's for a paired difference (his restricted maximum likelihood is this);
- fractions: the same for several samples per task.

Since an unseen extreme value is always possible, it never shrinks to a point: n equal values in
the middle of [-1, 1] give +-z^2 / (n + z^2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lichen.stats.interval import Interval, two_sided_z

Array = npt.NDArray[np.float64]


def score_interval(
    values: Sequence[float] | Array,
    counts: Sequence[int] | None = None,
    *,
    bounds: tuple[float, float],
    confidence: float = 0.95,
    method: str = "score",
) -> Interval:
    """The interval for the mean of ``values``, each seen once or ``counts`` times.

    ``bounds`` are the least and the greatest value that could have been seen.
    """
    distinct, weights = _weighted(values, counts)
    low, high = score_limits(distinct, weights, bounds=bounds, confidence=confidence)
    mean = float(weights @ distinct / weights.sum())
    return Interval(mean, min(float(low), mean), max(float(high), mean), confidence, method)


def score_limits(
    values: Array, counts: Array, *, bounds: tuple[float, float], confidence: float
) -> tuple[Array, Array]:
    """Both ends, for many samples at once.

    values [m] are distinct; counts [..., m] say how often each was seen; the ends are [...].
    """
    least, greatest = bounds
    span = greatest - least
    y = np.stack([values - least, greatest - values]) / span
    ends = _lower(y, np.asarray(counts, np.float64)[..., None, :], two_sided_z(confidence))
    return least + span * ends[..., 0], greatest - span * ends[..., 1]


def _weighted(values: Sequence[float] | Array, counts: Sequence[int] | None) -> tuple[Array, Array]:
    """The distinct values that were seen, and how often."""
    every = np.asarray(values, np.float64)
    times = np.ones_like(every) if counts is None else np.asarray(counts, np.float64)
    if every.ndim != 1 or times.shape != every.shape or not times.sum() > 0 or times.min() < 0:
        raise ValueError("a score interval needs at least one value, and one count for each value")
    distinct, place = np.unique(every[times > 0], return_inverse=True)
    weights: Array = np.bincount(place, times[times > 0]).astype(np.float64)
    return distinct, weights


def _lower(y: Array, counts: Array, z: float) -> Array:
    """The least believable means [..., 2] of values y [2, m] in [0, 1]; counts are [..., 1, m].

    The means below the one seen are reached along one path.  For t up to 1 the weights are
    divided by (1 - t) + t y; beyond it a share t - 1 of all moves to 0.  Values of 0 that were
    seen draw the mean to 0 on the first stretch already.
    """
    n = counts.sum(axis=-1)
    seen = (counts * y).sum(axis=-1) / n
    inside = np.zeros_like(seen)
    outside = np.where((counts * (y == 0)).sum(axis=-1) > 0, 1.0, 2.0)
    for _ in range(50):  # 1 - t keeps three digits at the last step
        t = (inside + outside) / 2
        mean, variance = _moments(y, counts, t)
        gap = seen - mean
        # Equal values do not move on the first stretch: both sides are rounding errors there.
        believable = (gap < 1e-12) | (n * gap**2 <= z * z * variance)
        inside = np.where(believable, t, inside)
        outside = np.where(believable, outside, t)
    return _moments(y, counts, inside)[0]


def _moments(y: Array, counts: Array, t: Array) -> tuple[Array, Array]:
    """Mean and variance of the distribution at t on the path (see `_lower`)."""
    tilt = np.minimum(t, 1)[..., None]
    p = counts / np.maximum(1 - tilt + tilt * y, 1e-300)  # 0 only where the count is 0 too
    kept = np.minimum(2 - t, 1) / p.sum(axis=-1)
    py = p * y
    mean = kept * py.sum(axis=-1)
    return mean, kept * (py * y).sum(axis=-1) - mean * mean
