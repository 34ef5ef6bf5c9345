"""The range whose quantized values are distributed most like the weights themselves.

Migacz 2017, "8-bit inference with TensorRT": of a fine histogram of magnitudes the first i bins are
kept, and P is their distribution with everything beyond added to the last of them.  Q is what the
codes can tell of it: the mass of the i bins falls into as many levels as there are codes of one
sign, and each spreads its mass evenly over those of its bins that are not empty.  The range is the
one with the least divergence ``KL(P || Q) = sum P log(P / Q)``: a short range cuts mass that Q then
lacks, a long one has coarse levels.  Where a level has no mass but from beyond, it counts as a ten
thousandth of a number, as MXNet smooths it: else one number far away would forbid every cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lichen.row_blocks import map_row_blocks
from lichen.schemes import Scheme, to_float32
from lichen.solvers import absmax, native
from lichen.solvers.native import Float32
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, QuantizedTensor

OPTIONS: dict[str, bool | int | float | str] = {}
NEEDS: frozenset[str] = frozenset()

_BINS = 2048
_TRIED = 64
_LEAST_COUNT = 1e-4

Counts = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


def solve(
    weight: FloatArray, scheme: Scheme, inputs: InputStatistics | None = None
) -> QuantizedTensor:
    """Quantize ``weight`` [out, in] symmetrically, a scale a row or one for all.

    ValueError for weights that are not finite, for groups, whose few weights have no distribution,
    and for zero points.
    """
    if scheme.granularity == "group" or not scheme.symmetric:
        raise ValueError(
            "entropy compares distributions of magnitudes: it needs a symmetric scheme,"
            " per channel or tensor"
        )
    low, high = native.extremes(weight, scheme)
    largest = np.maximum(-low, high)
    levels = 1 << (scheme.bits - 1)
    ends: Float32 = np.where(largest > 0, largest, np.float32(1))
    if scheme.granularity == "tensor":
        blocks = map_row_blocks(lambda rows: _counts(weight[rows], ends).sum(0), weight.shape)
        kept = ranges(np.sum(blocks, axis=0)[None], levels)
    else:
        parts = map_row_blocks(
            lambda rows: ranges(_counts(weight[rows], ends[rows]), levels), weight.shape
        )
        kept = np.concatenate(parts)
    reach: Float32 = kept[:, None].astype(np.float32) / np.float32(_BINS) * largest
    return absmax.between(weight, -reach, reach, scheme)


def ranges(counts: Counts, levels: int) -> npt.NDArray[np.int64]:
    """How many of the first bins to keep, for each row of counts [rows, bins]."""
    bins = counts.shape[1]
    tried = np.unique(np.geomspace(min(levels, bins), bins, _TRIED).astype(int))
    best: npt.NDArray[np.int64] = tried[np.argmin(divergences(counts, tried, levels), axis=1)]
    return best


def divergences(counts: Counts, tried: npt.NDArray[np.int64], levels: int) -> Float64:
    """KL(P || Q) of each row when so many of its first bins are kept, [rows, tried].

    What a level holds is the difference of two sums from the first bin on.
    """
    floats = counts.astype(np.float64)
    mass, filled, entropy = map(_running, (floats, floats > 0, _x_log_x(floats)))
    total = np.maximum(mass[:, -1], 1)

    def divergence(kept: int) -> Float64:
        edges = np.arange(min(levels, kept) + 1) * kept // min(levels, kept)
        inside, holding = (np.diff(sums[:, edges], axis=1) for sums in (mass, filled))
        beyond, last = mass[:, -1] - mass[:, kept], mass[:, kept] - mass[:, kept - 1]
        everything = inside.copy()
        everything[:, -1] += beyond
        holding[:, -1] += (last == 0) & (beyond > 0)
        share = np.maximum(inside, _LEAST_COUNT) / np.maximum(holding, 1)
        q = np.log(share / np.maximum(mass[:, kept, None], 1))
        p = entropy[:, kept - 1] + _x_log_x(last + beyond) - mass[:, -1] * np.log(total)
        found: Float64 = (p - (everything * q).sum(axis=1)) / total
        return found

    return np.stack([divergence(int(kept)) for kept in tried], axis=1)


def _running(values: npt.NDArray[Any]) -> Float64:
    """Sums of the first 0, 1, ... and all values of each row."""
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _x_log_x(x: Float64) -> Float64:
    product: Float64 = x * np.log(np.maximum(x, 1))
    return product


def _counts(block: FloatArray, largest: Float32) -> Counts:
    """Histograms [rows, bins] of magnitudes up to ``largest`` [rows or 1, 1]."""
    parts = np.abs(to_float32(block)) / largest
    bins = np.minimum(parts * np.float32(_BINS), _BINS - 1).astype(np.int64)
    bins += np.arange(len(block))[:, None] * _BINS
    return np.bincount(bins.ravel(), minlength=len(block) * _BINS).reshape(-1, _BINS)
