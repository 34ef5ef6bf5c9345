"""Least squared error of the weights, found by turns and without data.

Each group starts with its outermost weight on the outermost code, -8 of 4 bits (so a scale may be
negative), which cuts nothing.  Then, codes being fixed, the best scale is a quotient of two sums;
and with that scale weights are rounded anew (Lloyd's iteration, doi 10.1109/TIT.1982.1056489).  A
group keeps what it had when a turn does not make it better.
"""

from __future__ import annotations

import numpy as np

from lichen.schemes import (
    Scheme,
    in_groups,
    map_row_blocks,
    round_codes,
    to_float32,
)
from lichen.solvers.absmax import Float32, stored_scales
from lichen.tensor import FloatArray, QuantizedTensor

_TURNS = 2


def solve(weight: FloatArray, scheme: Scheme) -> QuantizedTensor:
    """Quantize ``weight`` [out, in] symmetrically.

    ValueError for weights that are not finite, and for a scheme with zero points.
    """
    if not scheme.symmetric:
        raise ValueError("the mse solver knows no zero points; use absmax")
    codes = np.empty(weight.shape, np.int8)
    scales = np.empty(scheme.scale_shape(*weight.shape), np.float32)

    def fill(rows: slice) -> None:
        codes[rows], scales[rows] = solve_rows(to_float32(weight[rows]), scheme)

    map_row_blocks(fill, weight.shape)
    return QuantizedTensor(codes, scales, None, scheme)


def solve_rows(block: Float32, scheme: Scheme) -> tuple[Float32, Float32]:
    """Codes [rows, in] (as floats) and scales [rows, groups] of some rows."""
    grouped = in_groups(block, scheme.scale_shape(*block.shape)[1])
    ends = outermost(grouped)
    if not np.isfinite(ends).all():
        raise ValueError("weights are not finite")
    scales = stored_scales(ends / np.float32(scheme.low), scheme)
    codes = in_groups(round_codes(block, scales, scheme), scales.shape[1])
    error = squared_error(grouped, codes, scales)
    for _ in range(_TURNS):
        fitted = stored_scales(best_scales(grouped, codes), scheme)
        again = in_groups(round_codes(block, fitted, scheme), scales.shape[1])
        improved = squared_error(grouped, again, fitted)
        better = improved < error
        np.copyto(codes, again, where=better[:, :, None])
        np.copyto(scales, fitted, where=better)
        np.copyto(error, improved, where=better)
    return codes.reshape(block.shape), scales


def outermost(grouped: Float32) -> Float32:
    """The weight of largest magnitude of each group [rows, groups, size], with its sign."""
    low: Float32 = grouped.min(axis=2)
    high: Float32 = grouped.max(axis=2)
    return np.where(-low > high, low, high)


def best_scales(grouped: Float32, codes: Float32) -> Float32:
    """For fixed codes, the scales of least squared error; 0 where all codes are zero."""
    products: Float32 = np.einsum("rgk,rgk->rg", grouped, codes)
    squares: Float32 = np.einsum("rgk,rgk->rg", codes, codes)
    scales: Float32 = np.divide(products, squares, out=np.zeros_like(products), where=squares > 0)
    return scales


def squared_error(grouped: Float32, codes: Float32, scales: Float32) -> Float32:
    """Of each group, [rows, groups]."""
    difference = codes * scales[:, :, None]
    difference -= grouped
    error: Float32 = np.einsum("rgk,rgk->rg", difference, difference)
    return error
