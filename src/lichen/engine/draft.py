"""Speculation: tokens guessed cheaply, tried many in one step, kept where the model agrees.

A step with a few rows costs little more than one with a single row, as long as it is bound by
reading the weights (Leviathan et al. 2022, arXiv 2211.17192).  Each row picks its token from the
same logits, and with the same draw, as it would in a step of its own, so the answer is the same
token for token, at any temperature; only its time differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

#: Longest draft.
MOST = 16


class Draft(Protocol):
    """The guesses for one sequence."""

    def odds(self, tokens: Sequence[int]) -> Sequence[float]:
        """The chances, falling, that the first 1, 2, 3 ... guesses after ``tokens`` are right."""

    def guess(self, count: int) -> list[int]:
        """The first ``count`` guesses after the tokens that were given last."""

    def close(self) -> None:
        """Give back what it holds."""


class Drafter(Protocol):
    """Makes a `Draft` for each sequence."""

    @property
    def seconds(self) -> float:
        """What one guess costs."""

    def open(self, prompt: Sequence[int], capacity: int) -> Draft | None:
        """Guesses for a sequence of up to ``capacity`` tokens; None where there is no room."""


class StepCost:
    """Seconds of a step by its rows: a line through the steps of late, by least squares.

    Steps without guesses all have much the same rows and leave the slope open; it then stays near
    one that makes `_ROWS` more rows cost as much again, and those that were measured fade slowly.
    """

    _ROWS = 16
    _FADE = 0.99
    _DOUBT = 0.1  # weight of the presumed slope, as a variance of rows

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = 0.0  # of means
        self._variance = self._covariance = 0.0

    @property
    def measured(self) -> bool:
        """Whether a step was counted in."""
        return self._weight > 0

    def learn(self, rows: int, seconds: float) -> None:
        """Count a step in; an outlier, as when another process had the processor, only partly."""
        if self._weight > 10:
            seconds = min(seconds, 2 * self(rows))
        self._weight = self._FADE * self._weight + 1
        share = 1 / self._weight
        off_rows, off_seconds = rows - self._rows, seconds - self._seconds
        self._rows += share * off_rows
        self._seconds += share * off_seconds
        self._variance = (1 - share) * (self._variance + share * off_rows * off_rows)
        self._covariance = (1 - share) * (self._covariance + share * off_rows * off_seconds)

    def __call__(self, rows: int) -> float:
        """Seconds that a step of so many rows is thought to take."""
        presumed = self._seconds / (self._ROWS + self._rows)
        slope = (self._covariance + self._DOUBT * presumed) / (self._variance + self._DOUBT)
        return max(0.0, self._seconds + max(slope, 0.0) * (rows - self._rows))


def lengths(
    odds: Sequence[Sequence[float]], cost: StepCost, guess_seconds: float, room: int
) -> list[int]:
    """How many guesses to try for each sequence, ``room`` at most, to have most tokens a second.

    ``odds`` has the chances of each sequence that generates.  The likeliest guesses of all come
    first, as many as pay: each is less likely than the one before and costs as much, so the first
    that does not pay is the end.  None are tried before a step was measured.
    """
    if not cost.measured:
        return [0] * len(odds)
    chances = sorted(
        ((chance, number) for number, of_one in enumerate(odds) for chance in of_one), reverse=True
    )
    tokens = float(len(odds))
    best = tokens / max(cost(len(odds)), 1e-9)
    result = [0] * len(odds)
    for count, (chance, number) in enumerate(chances[:room], 1):
        tokens += chance
        rate = tokens / max(cost(len(odds) + count) + count * guess_seconds, 1e-9)
        if rate <= best:
            break
        best = rate
        result[number] += 1
    return result
