"""Symmetric 8-bit integers with one scale per output row: ``w = code * scale``.

The range is that of compressed-tensors: codes -128..127, and absmax meets the middle of its 255
steps, so ``scale = absmax / 127.5`` and the one code that would be 127.5 or 128 is cut to 127.
Against absmax / 127 each step is 0.4% finer, which is worth as much as the cut costs; what decides
is that readers of the format use this one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lichen.schemes import Scheme, map_row_blocks
from lichen.tensor import FloatArray, QuantizedTensor

SCHEME = Scheme(bits=8)

#: Steps between the largest and the smallest code, halved: absmax is this many scales.
HALF_RANGE = np.float32(127.5)


def quantize(
    weight: FloatArray, scales: npt.NDArray[np.float32], scheme: Scheme = SCHEME
) -> QuantizedTensor:
    """Round ``weight`` [out, in] of any float type to ``scales`` [out, 1], half to even.

    The division is done in float32, block by block; weights and scales must be finite.
    """
    codes = np.empty(weight.shape, np.int8)

    def fill(rows: slice) -> None:
        block = to_float32(weight[rows]) / scales[rows]
        np.rint(block, out=block)
        np.clip(block, scheme.low, scheme.high, out=block)
        codes[rows] = block

    map_row_blocks(fill, weight.shape)
    return QuantizedTensor(codes=codes, scales=scales, zeros=None, scheme=scheme)


def to_float32(block: FloatArray) -> npt.NDArray[np.float32]:
    """``block`` as float32; the same array where it already is."""
    if block.dtype.name == "bfloat16":
        # bfloat16 is the upper half of a float32; ml_dtypes' own cast is ten times slower.
        return (block.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return block.astype(np.float32, copy=False)
