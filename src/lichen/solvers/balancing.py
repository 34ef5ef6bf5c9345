"""What scale searches share: the error that quantized products of a sample have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lichen.row_blocks import map_row_blocks
from lichen.schemes import ActivationScheme, dequantize, in_groups, to_float32
from lichen.solvers.native import Float32, multiply
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, Quantized


def least_error(
    weights: Sequence[FloatArray],
    inputs: InputStatistics,
    candidates: Sequence[Float32],
    solve: Callable[[Float32], Quantized],
    activations: ActivationScheme | None,
) -> Float32:
    """The factors [in] that leave the least squared error in the sample's products; ties go first.

    ``activations`` says how inputs are quantized, once divided.  ValueError without a sample.
    """
    x = inputs.sample
    if x is None:
        raise ValueError("a search needs a sample of the inputs, which comes from calibration")
    totals = np.zeros(len(candidates))
    for weight in map(to_float32, weights):
        exact = multiply(x, weight)
        for i, s in enumerate(candidates):
            product = multiply(rounded(x / s, activations), dequantize(solve(weight * s)))
            totals[i] += _squared_distance(product, exact)
    return candidates[int(np.argmin(totals))]


def rounded(x: Float32, activations: ActivationScheme | None) -> Float32:
    """Inputs [tokens, in] as their codes would stand for them; a static scale is that of them all.

    A scale is absmax / half the range of codes, as in the engine.
    """
    if activations is None:
        return x
    half_range = np.float32(2**activations.bits - 1) / 2
    grouped = in_groups(x, x.shape[1] // (activations.group_size or x.shape[1]))
    shared = None if activations.granularity == "tensor" else 2
    scales = np.abs(grouped).max(axis=shared, keepdims=True) / half_range
    scales[scales == 0] = 1
    codes = np.clip(np.rint(grouped / scales), -half_range - 0.5, half_range - 0.5)
    made: Float32 = (codes * scales).reshape(x.shape).astype(np.float32, copy=False)
    return made


def _squared_distance(a: Float32, b: Float32) -> float:
    def of_rows(rows: slice) -> float:
        return float(np.square(a[rows] - b[rows], dtype=np.float64).sum())

    return sum(map_row_blocks(of_rows, a.shape))
