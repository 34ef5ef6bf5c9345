"""The queue of generations that have not begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from lichen.engine.generation import Generation


class Waiting:
    """Numbers what it is given, and reads no further than to the one that is next."""

    def __init__(self, generations: Iterable[Generation]) -> None:
        self._source = enumerate(generations)
        self._front: deque[tuple[int, Generation]] = deque()

    def first(self) -> tuple[int, Generation] | None:
        """Who is next, with its number; None at the end."""
        if not self._front:
            self._front.extend(islice(self._source, 1))
        return self._front[0] if self._front else None

    def take(self) -> None:
        """Let the first one go."""
        self._front.popleft()

    def put_back(self, generations: list[tuple[int, Generation]]) -> None:
        """Put some back, in their order, before all others."""
        self._front.extendleft(reversed(generations))
