"""Weights and inputs that are hard in the ways that real ones are, and statistics of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lichen.schemes import dequantize
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import QuantizedTensor

Array = npt.NDArray[Any]


def weights(rows: int, columns: int, seed: int = 0) -> Array:
    """Heavy tails, as trained weights have."""
    drawn = np.random.default_rng(seed).standard_t(4, (rows, columns))
    return (drawn * 0.02).astype(np.float32)


def inputs(tokens: int, columns: int, seed: int = 0, *, rank: int = 8, outliers: int = 0) -> Array:
    """Columns that move together in ``rank`` directions; ``outliers`` of them are larger."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, rank)) @ rng.standard_normal((rank, columns))
    x += 0.3 * rng.standard_normal((tokens, columns))
    x[:, rng.permutation(columns)[:outliers]] *= 30
    return x.astype(np.float32)


def drawn(*shape: int) -> Array:
    """Columns of sizes from 1/100 to 100."""
    rng = np.random.default_rng(0)
    sizes = 10 ** rng.uniform(-2, 2, shape[1])
    return (rng.standard_normal(shape) * sizes).astype(np.float32)


def statistics(x: Array) -> InputStatistics:
    """What a collector would say of x [tokens, in], in float64; all of it is the sample."""
    wide = x.astype(np.float64)
    return InputStatistics(
        tokens=len(x),
        absmax=np.abs(x).max(axis=0),
        mean_absolute=np.abs(wide).mean(axis=0).astype(np.float32),
        mean_square=np.square(wide).mean(axis=0).astype(np.float32),
        second_moment=((wide.T @ wide / len(x)).astype(np.float32),),
        sample=x,
    )


def output_error(tensor: QuantizedTensor, weight: Array, x: Array) -> Array:
    """The squared error of every output [out], a mean over tokens."""
    difference = dequantize(tensor).astype(np.float64) - weight.astype(np.float64)
    product: Array = np.square(x.astype(np.float64) @ difference.T).mean(axis=0)
    return product
