"""The whole range: the largest magnitude of a row decides its scale, and nothing is cut."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen.schemes import Scheme, int8, map_row_blocks
from lichen.tensor import FloatArray, QuantizedTensor

_TYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def solve(weight: FloatArray, scheme: Scheme) -> QuantizedTensor:
    """Quantize ``weight`` [out, in] with ``scale = absmax / 127.5`` for each row.

    Scales are rounded to ``scheme.scale_type`` first and codes chosen for the rounded ones, so that
    every reader computes with the scales that the codes were made for.  As in compressed-tensors, a
    row of zeros gets the type's machine epsilon.  ValueError for weights that are not finite.
    """
    return int8.quantize(weight, scales_for(absmax(weight), scheme), scheme)


def absmax(weight: FloatArray) -> npt.NDArray[np.float32]:
    """The largest magnitude of each row of ``weight`` [out, in], as [out, 1]."""

    def of_rows(rows: slice) -> npt.NDArray[np.float32]:
        block = int8.to_float32(weight[rows])
        largest: npt.NDArray[np.float32] = np.maximum(block.max(axis=1), -block.min(axis=1))
        return largest

    largest = np.concatenate(map_row_blocks(of_rows, weight.shape))[:, None]
    if not np.isfinite(largest).all():
        raise ValueError("weights are not finite")
    return largest


def scales_for(largest: npt.NDArray[np.float32], scheme: Scheme) -> npt.NDArray[np.float32]:
    """The scale of each row, from its largest magnitude [out, 1]."""
    kind = _TYPES[scheme.scale_type]
    limits: Any = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
    scales = (largest / int8.HALF_RANGE).astype(kind).astype(np.float32)
    # A scale below the type's range would round to zero, and weights cannot be divided by it.
    scales = np.maximum(scales, np.float32(limits.smallest_subnormal))
    return np.where(largest == 0, np.float32(limits.eps), scales).astype(np.float32)
