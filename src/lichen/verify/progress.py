"""How a long run tells where it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

#: Called with (done, total); the unit is the step's own.
Update = Callable[[int, int], None]


class Progress(Protocol):
    """Listens to a run: one step after another, each with its own count."""

    def step(self, title: str) -> AbstractContextManager[Update]:
        """Open a step; the run calls what this gives with (done, total)."""

    def say(self, message: str) -> None:
        """One line that stays on the screen."""


class Silent:
    """Listens to nothing."""

    @contextmanager
    def step(self, title: str) -> Iterator[Update]:
        """See `Progress.step`."""
        yield lambda done, total: None

    def say(self, message: str) -> None:
        """See `Progress.say`."""
