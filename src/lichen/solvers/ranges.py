"""Static input scales: one range for all inputs of a product, from a histogram of magnitudes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from lichen.solvers import entropy
from lichen.solvers.statistics import Histogram

Method = Literal["absmax", "percentile", "mse", "entropy"]

#: Codes of one sign, and half the range of all.
_LEVELS, _HALF_RANGE = 128, 127.5

_TRIED = 200


def input_scale(histogram: Histogram, method: Method, *, percentile: float = 99.99) -> float:
    """The scale of int8 inputs: a range of magnitudes / 127.5.

    ``percentile`` is that of the method of its name: so many of a hundred inputs are not cut.
    ValueError for another method, or a percentile outside 0 to 100.  1 where all inputs are zero.
    """
    if not histogram.largest > 0:
        return 1.0
    methods: dict[str, Callable[[], float]] = {
        "absmax": lambda: histogram.largest,
        "percentile": lambda: _percentile(histogram, percentile),
        "mse": lambda: _least_error(histogram),
        "entropy": lambda: _entropy(histogram),
    }
    if method not in methods:
        raise ValueError(f"there is no range {method!r}; there are {', '.join(methods)}")
    return float(min(methods[method](), histogram.largest)) / _HALF_RANGE


def _percentile(histogram: Histogram, percentile: float) -> float:
    """The upper end of the bin in which the percentile lies."""
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}, not more than 0 and at most 100")
    below = np.cumsum(histogram.counts)
    bin_ = int(np.searchsorted(below, percentile / 100 * below[-1]))
    return (bin_ + 1) * histogram.width


def _least_error(histogram: Histogram) -> float:
    """The range of least squared error of what is rounded and cut, bins taken at their middles."""
    used = np.flatnonzero(histogram.counts)
    values = (used + 0.5) * histogram.width
    weights = histogram.counts[used].astype(np.float64)
    tried = histogram.largest * np.arange(1, _TRIED + 1) / _TRIED

    def error(largest: float) -> float:
        scale = largest / _HALF_RANGE
        rounded = np.minimum(np.rint(values / scale), _LEVELS - 1) * scale
        return float(weights @ np.square(rounded - values))

    return float(min(tried, key=error))


def _entropy(histogram: Histogram) -> float:
    return float(entropy.ranges(histogram.counts[None], _LEVELS)[0]) * histogram.width
