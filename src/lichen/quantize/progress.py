"""How far a run has come, in weights, and what it has to say on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: (done, in all)
Progress = Callable[[int, int], None]

#: Takes a line for people.
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Told:
    """Whoever wants to know how a run goes."""

    progress: Progress | None = None
    say: Say = silent

    def counting(self, total: int) -> Counting:
        """Counts up to ``total``."""
        return Counting(self.progress, total)


class Counting:
    """Counts what is done, and tells whoever wants to know."""

    def __init__(self, tell: Progress | None, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._tell:
            self._tell(self._done, self._total)
