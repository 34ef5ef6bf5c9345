"""One sequence by hand: tokens are fed at any place, and logits come back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.engine.cache import PagePool, PageTable


class Cursor:
    """Pages of its own, shared with nobody, for a sequence that somebody else decides on."""

    def __init__(
        self, plan: _core.Plan, cache: _core.Cache, pool: PagePool, table: PageTable
    ) -> None:
        self._plan = plan
        self._cache = cache
        self._pool = pool
        self._table = table
        self._pages = np.array([table.pages], np.int32)

    def feed(
        self, begin: int, ids: npt.NDArray[np.int32], *, rows: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits [rows, vocabulary] after the last ``rows`` of ``ids``, or after all of them.

        They take the places from ``begin`` on; those before must have been fed, and what was at
        these places or behind is as if it had never been.
        """
        count = len(ids)
        positions = np.arange(begin, begin + count, dtype=np.int32)
        starts = np.array([0, count], np.int32)
        wanted = np.arange(count - (count if rows is None else rows), count, dtype=np.int32)
        return self._plan.step(self._cache, ids, positions, starts, self._pages, wanted)

    def close(self) -> None:
        """Give the pages back."""
        self._pool.close(self._table, 0)
