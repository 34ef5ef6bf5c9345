"""Arrays in blocks of rows: every row once, results in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lichen.row_blocks import BLOCK_ELEMENTS, map_row_blocks, row_blocks


@given(st.integers(0, 5000), st.integers(1, 1 << 20))
def test_row_blocks_cover_every_row_once(rows, columns):
    covered = [row for block in row_blocks((rows, columns)) for row in range(rows)[block]]
    assert covered == list(range(rows))


def test_results_of_row_blocks_keep_their_order():
    starts = map_row_blocks(lambda rows: rows.start, (1000, BLOCK_ELEMENTS))
    assert starts == list(range(1000))
