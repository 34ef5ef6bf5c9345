"""The second moment of an input: what its columns do together, X^T X / tokens.

It is what costs in calibration: a matrix of all columns by all, of which solvers take a factor for
the cube of their number.  So columns of inputs wider than `MOST_COLUMNS` are cut into equal
stretches, and what columns of two stretches do together is left out.

Its products are made of bytes, each column of 256 tokens rounded to 63 steps on either side of
zero.  That is noise of about a thousandth of the column's square, far less than any solver adds to
the diagonal, and the moment is still one of real vectors, so it has no negative direction.  Sums
over a piece are float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.reuse import empty
from lichen.row_blocks import map_row_blocks
from lichen.solvers import native

Float32 = npt.NDArray[np.float32]

#: A square matrix: blocks along its diagonal, in order, and zeros beside them.
Moment = tuple[Float32, ...]

#: Columns of a block at most.
MOST_COLUMNS = 12288

#: Columns of a block are whole so many, but for the last; the native core works on them together.
_TOGETHER = 256

_MIRRORED = 128


class MomentCollector:
    """Sums X^T X of an input [tokens, width] that comes in pieces."""

    def __init__(self, width: int) -> None:
        self._sums = tuple(empty((size, size), np.float32) for size in stretches(width))
        for block in self._sums:
            block.fill(0)

    def add(self, x: Float32) -> None:
        """The next piece [n, width], which must be finite."""
        for columns, block in along(self._sums):
            _core.add_moment(native.pool(x.size), x[:, columns], block)

    def result(self, tokens: int) -> Moment:
        """To be asked for once."""
        for block in self._sums:
            _finish(block, tokens)
        return self._sums


def stretches(width: int) -> list[int]:
    """How many columns each block has: equal but for what makes them whole 256."""
    share = -(-width // -(-width // MOST_COLUMNS))
    size = -(-share // _TOGETHER) * _TOGETHER
    return [min(size, width - begin) for begin in range(0, width, size)]


def along(moment: Moment) -> Iterator[tuple[slice, Float32]]:
    """The columns of each block, and the block."""
    begin = 0
    for block in moment:
        yield slice(begin, begin + len(block)), block
        begin += len(block)


def diagonal(moment: Moment) -> Float32:
    """[width]"""
    return np.concatenate([block.diagonal() for block in moment])


def _finish(sums: Float32, tokens: int) -> None:
    """Make sums, of which the lower triangle is known, means in a symmetric matrix, in place."""
    share = np.float32(tokens)

    def divide(rows: slice) -> None:
        sums[rows, : rows.stop] /= share

    def mirror(rows: slice) -> None:
        block = np.tril(sums[rows, rows])
        sums[rows, rows] = block + np.tril(block, -1).T
        sums[rows, rows.stop :] = sums[rows.stop :, rows].T

    for step in (divide, mirror):
        map_row_blocks(step, sums.shape, _MIRRORED * len(sums))
