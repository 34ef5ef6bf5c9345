"""Number formats: what a quantized weight, and the input it meets, look like.

`Scheme` and `ActivationScheme` are the value types that travel, with the arithmetic that all
integer formats share; `packing` is how codes of any number of bits lie in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen.row_blocks import map_row_blocks
from lichen.tensor import FloatArray, Quantized, QuantizedTensor, TrellisTensor

Granularity = Literal["tensor", "channel", "group"]
FloatType = Literal["float32", "float16", "bfloat16"]

#: Bits of a stored code, and columns that may share a scale: what the engine's kernels know.
BITS = (8, 6, 5, 4, 3, 2)
GROUP_SIZES = (32, 64, 128)

#: What a row of trellis codes has whole ones of.
TRELLIS_COLUMNS = 32

_FLOAT_BITS = {"float32": 32, "float16": 16, "bfloat16": 16}

#: The float types in NumPy, by their names as a `FloatType`.
FLOATS: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Scheme:
    """How a weight [out, in] is stored: integers of ``bits`` bits, a scale for each of its parts.

    granularity  one scale for the whole tensor, for each output row ("channel", the "column" of
                 arXiv 2303.05378), or for each run of ``group_size`` columns of a row
    scale_type   the float type that scales are stored in, and rounded to before codes are chosen
    trellis      4 bits in groups of 128 as `lichen.schemes.trellis` says: codes are signed bytes by
                 the time that anything is calculated with them, and scales are for 32 columns each
    """

    bits: int
    symmetric: bool = True
    granularity: Granularity = "channel"
    group_size: int | None = None
    scale_type: FloatType = "float32"
    trellis: bool = False

    @property
    def low(self) -> int:
        """The smallest code."""
        return -128 if self.trellis else -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """The largest code."""
        return 120 if self.trellis else (1 << (self.bits - 1)) - 1

    @property
    def half_range(self) -> float:
        """Steps between the smallest and the largest code, halved: 127.5 for 8 bits."""
        return (self.high - self.low) / 2

    @property
    def whole_columns(self) -> int | None:
        """What a row must have whole ones of; of trellis codes the last group may be short."""
        return TRELLIS_COLUMNS if self.trellis else self.group_size

    def scale_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Scales of a weight [rows, columns]: [rows, groups], or [1, 1] for a whole tensor."""
        if self.granularity == "tensor":
            return 1, 1
        if self.trellis:
            return rows, columns // TRELLIS_COLUMNS
        return rows, columns // self.group_size if self.group_size else 1

    def stored_bits(self, rows: int, columns: int) -> int:
        """Bits that a weight [rows, columns] takes with its scales and zero points."""
        if self.trellis:
            return 8 * rows * trellis_row_bytes(columns)
        parts = math.prod(self.scale_shape(rows, columns))
        zeros = 0 if self.symmetric else self.bits
        return self.bits * rows * columns + parts * (_FLOAT_BITS[self.scale_type] + zeros)

    def __str__(self) -> str:
        part = f"group of {self.group_size}" if self.group_size else self.granularity
        if self.trellis:
            return f"int{self.bits} trellis codes per group of {self.group_size}"
        points = "" if self.symmetric else " with zero points"
        return f"int{self.bits} weights{points} per {part}"


def trellis_row_bytes(columns: int) -> int:
    """Bytes of a row of trellis codes: 71 for 128 columns, a unit, steps and codes."""
    whole, rest = divmod(columns, 128)
    return 71 * whole + (1 + (6 if rest > 64 else 3) + rest // 2 if rest else 0)


@dataclass(frozen=True)
class ActivationScheme:
    """How a layer's input is quantized while the model runs: by default a scale for each token.

    granularity  one scale a token, one for all ("tensor", which is not dynamic), or one for each
                 run of ``group_size`` columns of a token: as many as a group of the weight has,
                 or of an 8-bit weight with a scale a row, 64 or 128
    """

    bits: int = 8
    symmetric: bool = True
    granularity: Literal["token", "tensor", "group"] = "token"
    dynamic: bool = True
    group_size: int | None = None

    def __str__(self) -> str:
        kind = "dynamic" if self.dynamic else "static"
        part = f"group of {self.group_size}" if self.group_size else self.granularity
        return f"{kind} int{self.bits} activations per {part}"


def quantize(
    weight: FloatArray,
    scales: npt.NDArray[np.float32],
    scheme: Scheme,
    zeros: npt.NDArray[np.int8] | None = None,
) -> QuantizedTensor:
    """Round ``weight`` [out, in] of any float type to ``scales`` [out, groups], half to even.

    The division is done in float32, block by block; weights and scales must be finite.
    """
    codes = np.empty(weight.shape, np.int8)

    def fill(rows: slice) -> None:
        block = to_float32(weight[rows])
        part = rows if len(scales) > 1 else slice(None)
        shift = None if zeros is None else zeros[part]
        codes[rows] = round_codes(block, scales[part], scheme, shift)

    map_row_blocks(fill, weight.shape)
    return QuantizedTensor(codes=codes, scales=scales, zeros=zeros, scheme=scheme)


def round_codes(
    block: npt.NDArray[np.float32],
    scales: npt.NDArray[np.float32],
    scheme: Scheme,
    zeros: npt.NDArray[np.int8] | None = None,
) -> npt.NDArray[np.float32]:
    """The codes of some rows [rows, in], still as floats: ``w / scale + zero``, rounded and cut."""
    codes = in_groups(block, scales.shape[1]) / scales[:, :, None]
    if zeros is not None:
        codes += zeros[:, :, None]
    np.rint(codes, out=codes)
    np.clip(codes, scheme.low, scheme.high, out=codes)
    return codes.reshape(block.shape)


def in_groups(block: npt.NDArray[Number], groups: int) -> npt.NDArray[Number]:
    """Rows [rows, in] as [rows, groups, columns of a group], without a copy."""
    return block.reshape(len(block), groups, -1)


def to_float32(block: FloatArray) -> npt.NDArray[np.float32]:
    """``block`` as float32; the same array where it already is."""
    if block.dtype.name == "bfloat16":
        # bfloat16 is the upper half of a float32; ml_dtypes' own cast is ten times slower.
        return (block.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return block.astype(np.float32, copy=False)


def dequantize(tensor: Quantized) -> npt.NDArray[np.float32]:
    """The floats that a quantized tensor stands for: ``(codes - zeros) * scales``, [out, in]."""
    floats = np.empty(tensor.shape, np.float32)

    def fill(rows: slice) -> None:
        floats[rows] = dequantize_rows(tensor, rows)

    map_row_blocks(fill, tensor.shape)
    return floats


def in_floats(tensor: FloatArray | Quantized) -> FloatArray:
    """A tensor as it is, or what a quantized one stands for."""
    return dequantize(tensor) if isinstance(tensor, Quantized) else tensor


def dequantize_rows(tensor: Quantized, rows: slice) -> npt.NDArray[np.float32]:
    """Some rows of `dequantize`."""
    if isinstance(tensor, TrellisTensor):
        from lichen.schemes.trellis import decode  # which is made of schemes

        return dequantize_rows(decode(tensor, rows), slice(None))
    codes = tensor.codes[rows].astype(np.float32)
    part = rows if len(tensor.scales) > 1 else slice(None)
    scales = tensor.scales[part]
    grouped = in_groups(codes, scales.shape[1])
    if tensor.zeros is not None:
        grouped -= tensor.zeros[part, :, None]
    grouped *= scales[:, :, None]
    return codes
