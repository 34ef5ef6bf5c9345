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

import numpy as np
import numpy.typing as npt

from lichen.schemes import Scheme, map_row_blocks, to_float32
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
    divergence = np.stack([_divergence(counts, int(kept), levels) for kept in tried], axis=1)
    best: npt.NDArray[np.int64] = tried[np.argmin(divergence, axis=1)]
    return best


def _divergence(counts: Counts, kept: int, levels: int) -> Float64:
    """KL(P || Q) of each row when its first ``kept`` bins are kept."""
    inside = counts[:, :kept].astype(np.float64)
    mass = inside.copy()
    mass[:, -1] += counts[:, kept:].sum(axis=1)
    starts = np.arange(min(levels, kept)) * kept // min(levels, kept)
    level_mass = np.add.reduceat(mass, starts, axis=1)
    level_inside = np.add.reduceat(inside, starts, axis=1)
    filled = np.add.reduceat((mass > 0).astype(np.float64), starts, axis=1)
    total = np.maximum(mass.sum(axis=1, keepdims=True), 1)
    total_inside = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.log(np.maximum(level_inside, _LEAST_COUNT) / filled / total_inside)
        p = np.where(mass > 0, mass * np.log(mass / total), 0).sum(axis=1)
        cross = np.where(level_mass > 0, level_mass * q, 0).sum(axis=1)
    divergence: Float64 = (p - cross) / total[:, 0]
    return divergence


def _counts(block: FloatArray, largest: Float32) -> Counts:
    """Histograms [rows, bins] of magnitudes up to ``largest`` [rows or 1, 1]."""
    parts = np.abs(to_float32(block)) / largest
    bins = np.minimum(parts * np.float32(_BINS), _BINS - 1).astype(np.int64)
    bins += np.arange(len(block))[:, None] * _BINS
    return np.bincount(bins.ravel(), minlength=len(block) * _BINS).reshape(-1, _BINS)
