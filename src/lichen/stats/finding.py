"""What a comparison of two models found, and the words for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lichen.stats.interval import Interval

Decision = Literal["accept", "reject", "undecided"]
Test = Literal["exact McNemar", "sign-flip permutation"]


@dataclass(frozen=True)
class NonInferiority:
    """What a set of pairs says about "the candidate is at most ``margin`` worse".

    lost, gained   tasks that the candidate passes less often, and more often
    p_value        of ``test``: two-sided, for "no difference"
    smallest_drop  the smallest true drop that this many tasks could have shown (power 0.8)
    tasks_needed   how many would decide; None when these did
    sensitive      False when the reference passes so few tasks that even a candidate that fails
                   everything would stay within the margin: then an acceptance says nothing
                   (ICH E10, section 1.5, "assay sensitivity")
    """

    decision: Decision
    interval: Interval
    n: int
    lost: int
    gained: int
    margin: float
    test: Test
    p_value: float
    smallest_drop: float
    tasks_needed: int | None
    sensitive: bool

    @property
    def reason(self) -> str:
        """The decision in sentences, with the figures that carry it."""
        told = f"{_seen(self)} {_decided(self)}"
        if not self.sensitive:
            told += (
                " The reference itself passes so few of these tasks that they could not have "
                "shown a larger drop: take easier tasks."
            )
        return told


def points(fraction: float) -> str:
    """A share of tasks in words: 0.034 -> "3.4 points"."""
    text = f"{100 * fraction:.1f}".removesuffix(".0")
    return f"{text} point" if text == "1" else f"{text} points"


def _seen(found: NonInferiority) -> str:
    change = found.interval.estimate
    if found.lost == found.gained == 0:
        same = "verdict" if found.test == "exact McNemar" else "share of passes"
        return f"Both models have the same {same} on all {found.n} tasks."
    if found.test == "exact McNemar":
        moved = f"lost {found.lost} and gained {found.gained}"
    else:
        moved = f"passes {found.lost} less often and {found.gained} more often"
    total = f"{'a drop' if change < 0 else 'a gain'} of {points(abs(change))}"
    return f"Of {found.n} tasks the candidate {moved}: {total if change else 'no change'}."


def _decided(found: NonInferiority) -> str:
    low, high = found.interval.low, found.interval.high
    # A bound is rounded up: "at most 3 points" must not stand for 3.04.
    worst = points(max(0, math.ceil(-1000 * low - 1e-6)) / 1000)
    sure = f"With {(1 + found.interval.confidence) / 2:.0%} confidence"
    allowed = f"the {points(found.margin)} allowed"
    if found.decision == "accept":
        small = " A loss is there, but a small one." if high < 0 else ""
        return f"{sure} the true drop is at most {worst}, within {allowed}.{small}"
    if found.decision == "reject":
        return (
            f"{sure} the candidate is truly worse, by {points(-high)} or more, and a drop of up "
            f"to {worst} cannot be ruled out; allowed are {points(found.margin)}."
        )
    if low > -found.margin:
        return f"So few tasks cannot rule a loss out; {found.tasks_needed:,} would decide."
    return (
        f"{sure} all that can be said is that the true drop is at most {worst}, more than "
        f"{allowed}; about {found.tasks_needed:,} tasks would decide if more of them go like these."
    )
