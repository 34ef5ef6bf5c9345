"""How codes of fewer than 8 bits lie in words: one after the other, without a gap.

Code number i of a row is stored as ``code + 2**(bits - 1)`` from bit ``i * bits`` on, where a row
is a stream of bits, the lowest bit of every int32 first; a code may lie across two words.  That is
how compressed-tensors packs weights ("pack-quantized", compressors/pack_quantized), and GPTQ too.

Eight codes of b bits fill b bytes, so eight bytes with a code each are drawn together by halves in
one 64-bit word: pairs, then fours, then all eight.  Of 4 bits, which are packed most, pairs do.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lichen.reuse import empty
from lichen.row_blocks import map_row_blocks

Words = npt.NDArray[np.int32]

#: Bits between two lanes of a word of eight bytes, when lanes are pairs, fours and all of it, and a
#: number with a one at the lowest bit of each.
_LANES = ((16, 0x0001_0001_0001_0001), (32, 0x0000_0001_0000_0001), (64, 1))


def packed_columns(columns: int, bits: int) -> int:
    """Words that a row of codes takes."""
    return math.ceil(columns * bits / 32)


def pack(codes: npt.NDArray[np.int8], bits: int) -> Words:
    """Words [out, packed_columns] of codes [out, in]; the rest of a last word is zeros."""
    rows, columns = codes.shape
    words = empty((rows, packed_columns(columns, bits)), "<i4")
    octets = words.view(np.uint8)
    used = min(octets.shape[1], math.ceil(columns / 8) * bits)
    octets[:, used:] = 0

    def fill_pairs(part: slice) -> None:
        # With the bits of 8 turned, the lowest four of a code are those of code + 8.
        pairs = codes[part].view("<u2") & np.uint16(0x0F0F) ^ np.uint16(0x0808)
        octets[part] = pairs | pairs >> np.uint16(4)  # of which the lower byte stays

    def fill(part: slice) -> None:
        block = codes[part]
        padded = np.zeros((len(block), math.ceil(columns / 8) * 8), np.uint8)
        np.add(block.view(np.uint8), _offset(bits), out=padded[:, :columns])
        drawn = _draw_together(padded.view("<u8"), bits).view(np.uint8)
        dense = drawn.reshape(len(block), -1, 8)[:, :, :bits].reshape(len(block), -1)
        octets[part, :used] = dense[:, :used]

    in_pairs = bits == 4 and columns % 8 == 0 and codes.flags.c_contiguous
    map_row_blocks(fill_pairs if in_pairs else fill, codes.shape)
    return words


def unpack(stored: Words, bits: int, columns: int) -> npt.NDArray[np.int8]:
    """Codes [out, columns] of words [out, packed_columns]."""
    codes = np.empty((len(stored), columns), np.int8)
    eights = math.ceil(columns / 8)

    def fill(part: slice) -> None:
        octets = np.ascontiguousarray(stored[part], "<i4").view(np.uint8)
        dense = np.zeros((len(octets), eights * bits), np.uint8)
        used = min(dense.shape[1], octets.shape[1])
        dense[:, :used] = octets[:, :used]
        drawn = np.zeros((len(octets), eights, 8), np.uint8)
        drawn[:, :, :bits] = dense.reshape(len(octets), eights, bits)
        apart = _draw_apart(drawn.view("<u8")[:, :, 0], bits).view(np.uint8)
        np.subtract(apart[:, :columns], _offset(bits), out=codes[part].view(np.uint8))

    map_row_blocks(fill, codes.shape)
    return codes


def _offset(bits: int) -> np.uint8:
    """What makes the smallest code zero; sums and differences are taken modulo 256."""
    return np.uint8(1 << (bits - 1))


def _draw_together(words: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint64]:
    """Words of eight bytes, a code in each, with their codes in the lowest ``8 * bits`` bits."""
    for lane, ones in _LANES:
        half = lane // 2
        low = np.uint64(ones * ((1 << half) - 1))
        upper = words >> np.uint64(half) & low
        words = (words & low) | upper << np.uint64(bits * lane // 16)
    return words


def _draw_apart(words: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint64]:
    """The inverse of `_draw_together`."""
    for lane, ones in reversed(_LANES):
        filled = bits * lane // 16
        low = np.uint64(ones * ((1 << filled) - 1))
        upper = words >> np.uint64(filled) & low
        words = (words & low) | upper << np.uint64(lane // 2)
    return words
