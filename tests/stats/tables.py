"""Tables of pairs, drawn at random and with their exact chances."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from lichen import stats

counts = st.integers(0, 120)
#: both, lost, gained, neither
pairs = st.tuples(counts, counts, counts, counts).filter(lambda t: sum(t) > 0)


def rate(decision: str, n: int, p_lost: float, p_gained: float, margin: float) -> float:
    """Exact chance of a decision at these true shares of lost and gained tasks."""
    return sum(
        p for a, b, p in outcomes(n, p_lost, p_gained)
        if stats.non_inferiority(60, a, b, n - 60 - a - b, margin=margin).decision == decision
    )  # fmt: skip


def outcomes(n: int, p_lost: float, p_gained: float) -> list[tuple[int, int, float]]:
    """Lost, gained and the chance of it, for all that is at all likely."""
    lost, gained = np.meshgrid(np.arange(41), np.arange(41), indexing="ij")
    shares = [p_lost, p_gained, 1 - p_lost - p_gained]
    counts = np.stack([lost, gained, n - lost - gained], -1)
    chance = scipy_stats.multinomial.pmf(counts, n, shares)
    return [(int(a), int(b), float(chance[a, b])) for a, b in np.argwhere(chance > 1e-7)]
