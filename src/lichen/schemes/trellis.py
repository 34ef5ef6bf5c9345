"""Trellis codes: 4 bits a weight that say one of 32 levels; 4.44 with all that belongs to them.

The format is that of `native/include/lichen/trellis.h`: 128 columns share a unit, 8 of these a step
of 1 to 8, and ``w = unit * step * (level - 16)``; which 16 levels a code can mean depends on the
codes before it.  So a weight is a signed byte times a unit, and every code of a row depends on its
neighbours: rows are coded as a whole (`lichen.solvers.native.encode_trellis`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.reuse import empty
from lichen.row_blocks import map_row_blocks
from lichen.schemes import TRELLIS_COLUMNS, Scheme
from lichen.tensor import QuantizedTensor, TrellisTensor

#: Columns of a row that share a unit.
GROUP = 128

SCHEME = Scheme(bits=4, granularity="group", group_size=GROUP, trellis=True)

#: What codes are decoded to.  Scales are units, each for 32 columns, so that all are for equally
#: many, though a row's last group of 128 may be short.
DECODED = Scheme(bits=8, granularity="group", group_size=TRELLIS_COLUMNS)

#: Decoding makes nothing but what it gives back, so blocks are as large as two threads can share.
_BLOCK_ELEMENTS = 1 << 20


def tensor(words: npt.NDArray[np.uint8], columns: int) -> TrellisTensor:
    """A weight of rows of so many columns, ``words`` [out, bytes of a row]."""
    return TrellisTensor(words, (len(words), columns), SCHEME)


def decode(coded: TrellisTensor, rows: slice = slice(None)) -> QuantizedTensor:
    """Some rows as signed bytes and scales."""
    words, columns = coded.words[rows], coded.shape[1]
    codes = empty((len(words), columns), np.int8)
    scales = np.empty((len(words), columns // TRELLIS_COLUMNS), np.float32)

    def fill(part: slice) -> None:
        units = np.empty((len(words[part]), -(-columns // GROUP)), np.float32)
        _core.decode_trellis(words[part], codes[part], units)
        scales[part] = np.repeat(units, GROUP // TRELLIS_COLUMNS, axis=1)[:, : scales.shape[1]]

    map_row_blocks(fill, codes.shape, _BLOCK_ELEMENTS)
    inputs = coded.activations, coded.input_scale
    return QuantizedTensor(codes, scales, None, DECODED, *inputs)


def code_order(columns: int) -> npt.NDArray[np.intp]:
    """Columns of a row in the order of their codes."""
    in_block = np.array([0, 4, 1, 5, 2, 6, 3, 7], np.intp)
    blocks = np.arange(0, columns, len(in_block), dtype=np.intp)
    order: npt.NDArray[np.intp] = np.add.outer(blocks, in_block).ravel()
    return order
