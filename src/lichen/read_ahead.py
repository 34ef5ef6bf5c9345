"""Reading the next weight while the present one is being worked on."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
Weight = TypeVar("Weight")

#: Weights of more elements (an embedding, a head) count as large.
LARGE_ELEMENTS = 1 << 24


class ReadAhead(Generic[Name, Weight]):
    """Reads weights in the order of ``names``, each when the one before is handed out.

    Those that are ``large`` are read when they are asked for, so that only one of them is in memory
    at a time; so is what is asked for out of order.
    """

    def __init__(
        self, read: Callable[[Name], Weight], names: Sequence[Name], large: Container[Name] = ()
    ) -> None:
        self._read = read
        self._following = {name: after for name, after in pairwise(names) if after not in large}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._coming: tuple[Name, Future[Weight]] | None = None

    def __enter__(self) -> ReadAhead[Name, Weight]:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def read(self, name: Name) -> Weight:
        """A weight; whatever reading it raised is raised here."""
        coming, self._coming = self._coming, None
        if coming is not None and coming[0] == name:
            tensor = coming[1].result()
        else:
            tensor = self._read(name)
        if (following := self._following.get(name)) is not None:
            self._coming = following, self._thread.submit(self._read, following)
        return tensor
