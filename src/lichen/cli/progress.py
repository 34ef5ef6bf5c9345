"""Progress on stderr: a bar with the time left on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lichen.cli.output import tell

#: Without a terminal, a step says where it is at most this often.
QUIET_SECONDS = 15.0

#: Before this share is done, no time left is told: the first answers of a batch come late.
EARLY_SHARE = 0.1

#: Larger totals are bytes or the like, of which nobody wants to see the number.
COUNTABLE = 10_000


class TerminalProgress:
    """Shows a run's steps (`lichen.verify.Progress`)."""

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """A step of the run; what it gives is called with (done, total)."""
        shown = _bar(title) if sys.stderr.isatty() else _lines(title)
        with shown as update:
            yield update

    def say(self, message: str) -> None:
        """One line that stays."""
        tell(message)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is replaced by one line with the time it took."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeLeft(),
    )
    seen = 0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, count="")

        def update(done: int, total: int) -> None:
            nonlocal seen
            seen = total
            bar.update(task, completed=done, total=total, count=_count(done, total))

        yield update
    _ended(title, seen, started)


@contextmanager
def _lines(title: str) -> Iterator[Callable[[int, int], None]]:
    """A line every `QUIET_SECONDS`, and one at the end."""
    started = told = time.monotonic()
    first: int | None = None
    seen = 0

    def update(done: int, total: int) -> None:
        nonlocal told, first, seen
        now, seen = time.monotonic(), total
        first = done if first is None else first  # what an earlier run did says nothing of speed
        if now - told < QUIET_SECONDS:
            return
        told = now
        left = ""
        if done > first and done - first >= EARLY_SHARE * total:
            left = f", about {_duration((now - started) / (done - first) * (total - done))} left"
        tell(f"{title}: {_count(done, total)}{left}")

    yield update
    _ended(title, seen, started)


def _ended(title: str, total: int, started: float) -> None:
    count = f": {total}" if 1 < total <= COUNTABLE else ""
    took = _duration(time.monotonic() - started)
    tell(f"{title}{count} done in {took}")


def _count(done: int, total: int) -> str:
    """Things are counted; bytes and the like are told as a share."""
    if total > COUNTABLE:
        return f"{100 * done / total:.0f}%"
    return f"{done} of {total}"


def _duration(seconds: float) -> str:
    """2.4 s, 1 min 5 s, 2 h 3 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
