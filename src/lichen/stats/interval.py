"""An estimate with an interval, and the normal quantiles that intervals are made of."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Interval:
    """An estimate with the two-sided interval around it."""

    estimate: float
    low: float
    high: float
    confidence: float
    method: str


def z_value(probability: float) -> float:
    """The standard normal quantile."""
    return NormalDist().inv_cdf(probability)


def two_sided_z(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches: 1.96 for 0.95."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), not {confidence}")
    return z_value((1 + confidence) / 2)
