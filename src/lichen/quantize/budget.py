"""Spending a budget of bits: which of several formats each group of layers gets.

What a group costs in divergence is measured once, with that group alone in its coarsest format;
in a finer one it is taken to be less by as much as the squared error of the weights is, and the
costs of all groups to add up.  Both are approximations; given them, the choice is optimal, but for
rounding bits up to 1/65536 of the budget where sizes have no common divisor as large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lichen.errors import InputError

Costs = npt.NDArray[np.float64]
Formats = npt.NDArray[np.int8]

#: The budget is cut in at most so many units; formats are rounded up to whole ones.
_UNITS = 1 << 16


@dataclass(frozen=True)
class Offer:
    """A group of layers in each of its formats: the bits that it takes, and what it costs."""

    bits: tuple[int, ...]
    costs: tuple[float, ...]


def require_enough(budget: float, least: float) -> None:
    """InputError where ``budget`` bits do not pay for the smallest formats."""
    if least > budget:
        raise InputError(
            f"the budget of {budget / 8e6:.1f} MB is less than the smallest formats take"
            f" ({least / 8e6:.1f} MB); raise bits, or offer smaller formats."
        )


def spend(offers: Mapping[str, Offer], budget: float) -> dict[str, int]:
    """The format of every group, by its number, of least total cost within ``budget`` bits.

    A multiple-choice knapsack by dynamic programming.  InputError where even the smallest formats
    take more.
    """
    require_enough(budget, sum(min(offer.bits) for offer in offers.values()))
    common = math.gcd(*(bits for offer in offers.values() for bits in offer.bits))
    unit = common if budget <= common * _UNITS else budget / _UNITS
    sizes = {name: [math.ceil(b / unit) for b in offer.bits] for name, offer in offers.items()}
    best = np.zeros(int(budget // unit) + 1)
    if sum(map(min, sizes.values())) >= len(best):  # rounded up, even the smallest are too large
        return {name: offer.bits.index(min(offer.bits)) for name, offer in offers.items()}
    taken: list[Formats] = []
    for name, offer in offers.items():
        best, choice = _add(best, sizes[name], offer.costs)
        taken.append(choice)
    return _trace(list(offers), taken, sizes, int(np.argmin(best)))


def _add(best: Costs, sizes: Sequence[int], costs: Sequence[float]) -> tuple[Costs, Formats]:
    """Least cost within every number of units, with one more group; and the group's format."""
    options = np.full((len(sizes), len(best)), np.inf)
    for row, size, cost in zip(options, sizes, costs, strict=True):
        if size < len(best):
            row[size:] = best[: len(best) - size] + cost
    choice = options.argmin(axis=0).astype(np.int8)
    return options.min(axis=0), choice


def _trace(
    names: list[str],
    taken: list[Formats],
    sizes: Mapping[str, Sequence[int]],
    left: int,
) -> dict[str, int]:
    """Back from the end: what was taken with so many units left."""
    chosen: dict[str, int] = {}
    for name, choice in zip(reversed(names), reversed(taken), strict=True):
        chosen[name] = int(choice[left])
        left -= sizes[name][chosen[name]]
    return {name: chosen[name] for name in names}
