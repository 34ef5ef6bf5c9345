"""What scale searches share: the error that quantized products of a sample have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lichen.schemes import dequantize, map_row_blocks, to_float32
from lichen.solvers.native import Float32, multiply
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, QuantizedTensor


def least_error(
    weights: Sequence[FloatArray],
    inputs: InputStatistics,
    candidates: Sequence[Float32],
    solve: Callable[[Float32], QuantizedTensor],
    quantize_inputs: Callable[[Float32], Float32] | None = None,
) -> Float32:
    """The factors [in] that leave the least squared error in the sample's products; ties go first.

    ValueError without a sample.
    """
    x = inputs.sample
    if x is None:
        raise ValueError("a search needs a sample of the inputs, which comes from calibration")
    totals = np.zeros(len(candidates))
    for weight in map(to_float32, weights):
        exact = multiply(x, weight)
        for i, s in enumerate(candidates):
            scaled = x / s
            seen = quantize_inputs(scaled) if quantize_inputs else scaled
            product = multiply(seen, dequantize(solve(weight * s)))
            totals[i] += _squared_distance(product, exact)
    return candidates[int(np.argmin(totals))]


def quantized_rows(x: Float32) -> Float32:
    """Inputs [tokens, in] as int8 with one scale a token would have them: absmax / 127.5."""
    scales = np.abs(x).max(axis=1, keepdims=True) / np.float32(127.5)
    scales[scales == 0] = 1
    rounded: Float32 = np.clip(np.rint(x / scales), -128, 127) * scales
    return rounded


def _squared_distance(a: Float32, b: Float32) -> float:
    def of_rows(rows: slice) -> float:
        return float(np.square(a[rows] - b[rows], dtype=np.float64).sum())

    return sum(map_row_blocks(of_rows, a.shape))
