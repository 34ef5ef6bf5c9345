"""4-bit integers with one scale, and perhaps a zero point, for each group of columns of a row.

Codes are -8..7, ``w = (code - zero) * scale``.  They are stored as compressed-tensors does it
("pack-quantized", compressors/pack_quantized): code + 8 in four bits, eight consecutive ones in an
int32, the first in its lowest bits.  With a 16-bit scale for 32 columns that is 4.5 bits a weight.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lichen.row_blocks import map_row_blocks
from lichen.schemes import Scheme

#: Columns that may share a scale; the engine's kernels know these.
GROUP_SIZES = (32, 64, 128)

SCHEME = Scheme(bits=4, granularity="group", group_size=32, scale_type="float16")

_PER_WORD = 8

#: The two codes of every byte, the one in its lower half first: [256] pairs of int8.
_PAIRS = (
    (np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1) - 8)
    .astype(np.int8)
    .view(np.uint16)
    .reshape(256)
)


def pack(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
    """Words [out, ceil(in / 8)] of codes [out, in]; a last word that is not full ends in zeros."""
    words = np.empty((len(codes), packed_columns(codes.shape[1])), np.int32)

    def fill(rows: slice) -> None:
        block = codes[rows]
        nibbles = np.zeros((len(block), words.shape[1] * _PER_WORD), np.uint8)
        np.add(block, 8, out=nibbles[:, : block.shape[1]], casting="unsafe")
        words[rows] = (nibbles[:, 0::2] | nibbles[:, 1::2] << 4).view("<i4")

    map_row_blocks(fill, codes.shape)
    return words


def unpack(stored: npt.NDArray[np.int32], columns: int) -> npt.NDArray[np.int8]:
    """Codes [out, columns] of words [out, ceil(columns / 8)]."""
    codes = np.empty((len(stored), stored.shape[1] * _PER_WORD), np.int8)

    def fill(rows: slice) -> None:
        octets = np.ascontiguousarray(stored[rows], dtype="<i4").view(np.uint8)
        np.take(_PAIRS, octets, out=codes[rows].view(np.uint16), mode="clip")

    map_row_blocks(fill, codes.shape)
    return np.ascontiguousarray(codes[:, :columns])


def packed_columns(columns: int) -> int:
    """Words that a row of codes takes."""
    return math.ceil(columns / _PER_WORD)
