"""Which kernel runs a weight, and what it is given.

| inputs | weight | kernel |
|---|---|---|
| floats | up to 4 bits; to 6; more | b4; b6; b8: blocks of codes, which meet inputs in 16 bits |
| int8, a scale for each group | trellis codes | t4 |
| int8, one scale a row or for the same groups | up to 4 bits in groups, 16-bit scales | i4 |
| int8, one scale a row or for groups of 64 or 128 | one scale a row, up to 65,536 columns | i8 |
| int8 | all others | b4, b6, b8; the input is rounded to its int8 steps first |

An input in 16 bits has a scale for each 32 columns, and so loses 2^-16 of the largest of these at
most: as the last line does of what int8 would give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen._core import FileRows
from lichen.schemes import GROUP_SIZES, trellis
from lichen.tensor import (
    AnyTensor,
    BlockTensor,
    QuantizedTensor,
    StoredFloats,
    StoredTensor,
    StoredTrellis,
    TrellisTensor,
)

Float32 = npt.NDArray[np.float32]

#: A weight in codes, read or still in its file.
Codes = QuantizedTensor | StoredTensor

#: Columns of an input that may share a scale where the weight has one for a row.
_INT8_INPUT_GROUPS = (None, 64, 128)

#: Types of floats, and the kernels that take them.
FLOAT_KERNELS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

#: Sums of more products of 8 bits would not fit 32 bits.
_MOST_INT8_COLUMNS = 65536


class Rounding(NamedTuple):
    """An input that meets floats in steps of its int8 scheme.

    ``scale`` is that of all inputs, or 0: each row has its own, or each ``group`` columns of a row.
    """

    scale: float
    group: int


@dataclass(frozen=True)
class Kernel:
    """The arguments of `_core.Linear` that a weight's format decides."""

    dtype: str
    weight: npt.NDArray[Any] | FileRows
    scales: Float32 | None = None
    zeros: npt.NDArray[np.int8] | None = None
    shifts: Float32 | None = None
    input_scale: float = 0.0
    input_group: int = 0
    rounding: Rounding | None = None


def lower(tensor: AnyTensor) -> Kernel:
    """The kernel for a weight, in whatever form it is stored."""
    match tensor:
        case BlockTensor():
            return Kernel(tensor.kind, tensor.data)
        case StoredFloats():
            return Kernel(FLOAT_KERNELS[tensor.name], tensor.rows)
        case TrellisTensor() | StoredTrellis():
            return _lower_trellis(tensor)
        case QuantizedTensor() | StoredTensor():
            return _lower_codes(tensor)
    kernel = FLOAT_KERNELS[tensor.dtype.name]
    return Kernel(kernel, tensor if kernel == "f32" else tensor.view(np.uint16))


def _lower_trellis(tensor: TrellisTensor | StoredTrellis) -> Kernel:
    """The kernel for trellis codes; inputs whose scales are for other columns meet signed bytes."""
    size = tensor.activations.group_size if tensor.activations else None
    if isinstance(tensor, StoredTrellis) or size == trellis.GROUP:
        return Kernel("t4", tensor.words, input_group=trellis.GROUP)
    return _lower_codes(trellis.decode(tensor))


def _lower_codes(tensor: Codes) -> Kernel:
    """The kernel for a weight of any scheme, with any scheme of activations."""
    if tensor.activations is None:
        return _as_floats(tensor)
    steps = Rounding(tensor.input_scale or 0.0, tensor.activations.group_size or 0)
    if _fits_i4(tensor):
        scales = _of_all_rows(tensor.scales, tensor)
        return Kernel("i4", tensor.codes, scales, _zeros(tensor), None, *steps)
    if _fits_i8(tensor):
        return Kernel(
            "i8", _centred(tensor), _of_all_rows(tensor.scales, tensor), None, None, *steps
        )
    return replace(_as_floats(tensor), rounding=steps)


def _fits_i4(tensor: Codes) -> bool:
    size, inputs = tensor.scheme.group_size, tensor.activations
    assert inputs is not None
    return (
        tensor.scheme.bits <= 4
        and size in GROUP_SIZES
        and inputs.group_size in (None, size)
        and _in_16_bits(tensor.scales)
    )


def _fits_i8(tensor: Codes) -> bool:
    assert tensor.activations is not None
    return (
        tensor.scales.shape[1] == 1
        and tensor.activations.group_size in _INT8_INPUT_GROUPS
        and (_zeros(tensor) is None or tensor.scheme.bits < 8)  # code - zero takes one bit more
        and tensor.shape[1] <= _MOST_INT8_COLUMNS
    )


def _in_16_bits(scales: Float32) -> bool:
    """Whether all scales are numbers of float16, or all of bfloat16."""
    with np.errstate(over="ignore"):
        return any(
            np.array_equal(scales.astype(kind).astype(np.float32), scales)
            for kind in (np.float16, ml_dtypes.bfloat16)
        )


def _zeros(tensor: Codes) -> npt.NDArray[np.int8] | None:
    return None if isinstance(tensor, StoredTensor) else tensor.zeros


def _centred(tensor: Codes) -> npt.NDArray[np.int8] | FileRows:
    """Codes whose zero point is zero; those of fewer than 8 bits stay in int8."""
    if isinstance(tensor, StoredTensor) or tensor.zeros is None:
        return tensor.codes
    return tensor.codes - tensor.zeros


def _as_floats(tensor: Codes) -> Kernel:
    """The kernel for codes that stand for floats: a weight as ``code * scale + shift``.

    A zero point times a scale of 16 bits is exact in float32, so ``code * scale + shift`` rounds
    as ``(code - zero) * scale`` does; with scales of 32 bits the shift is rounded by itself.
    """
    scales, bits = _of_all_rows(tensor.scales, tensor), tensor.scheme.bits
    bits = 4 if bits <= 4 else 6 if bits <= 6 else 8
    if isinstance(tensor, StoredTensor) or tensor.zeros is None:
        return Kernel(f"b{bits}", tensor.codes, scales)
    first = {4: 8, 6: 32, 8: 0}[bits]  # codes of b4 and b6 that have shifts begin at 0
    shifts = scales * -(tensor.zeros.astype(np.float32) + np.float32(first))
    return Kernel(f"b{bits}", tensor.codes + np.int8(first), scales, shifts=shifts)


def _of_all_rows(scales: Float32, tensor: Codes) -> Float32:
    """Scales [out, groups], where one for the whole tensor is repeated."""
    return np.ascontiguousarray(np.broadcast_to(scales, (tensor.shape[0], scales.shape[1])))
