"""Bootstrap over tasks: an interval for a mean without a model of how scores are spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lichen.stats.interval import Interval
from lichen.stats.permutation import paired_differences

Array = npt.NDArray[np.float64]


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
    difference = paired_differences(reference, candidate)
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
