"""A range that leaves a few weights out: those beyond a percentile are cut."""

from __future__ import annotations

import numpy as np

from lichen.row_blocks import map_row_blocks
from lichen.schemes import Scheme, in_groups, to_float32
from lichen.solvers import absmax, native
from lichen.solvers.limit import Limit, require
from lichen.solvers.native import Float32
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, QuantizedTensor

OPTIONS: dict[str, bool | int | float | str] = {"percentile": 99.9}
LIMITS: dict[str, Limit] = {
    "percentile": Limit("above 50 and at most 100", lambda percentile: 50 < percentile <= 100)
}
NEEDS: frozenset[str] = frozenset()


def solve(
    weight: FloatArray,
    scheme: Scheme,
    inputs: InputStatistics | None = None,
    *,
    percentile: float = 99.9,
) -> QuantizedTensor:
    """Quantize ``weight`` [out, in]; with 100 as absmax does.

    Symmetric: the range ends at that percentile of each part's magnitudes.  With zero points it
    runs from the percentile of 100 - ``percentile`` to that of ``percentile``, zero among them.
    Between two weights the percentile is interpolated.  ValueError for weights that are not finite
    and for a percentile that is not above 50 and at most 100.
    """
    require(LIMITS, percentile=percentile)
    native.extremes(weight, scheme)  # refuses what is not finite
    if scheme.granularity == "tensor":
        low, high = _ends(to_float32(weight).reshape(1, -1), 1, scheme, percentile)
        return absmax.between(weight, low, high, scheme)
    groups = scheme.scale_shape(*weight.shape)[1]

    def of_rows(rows: slice) -> tuple[Float32, Float32]:
        return _ends(to_float32(weight[rows]), groups, scheme, percentile)

    low, high = map(np.concatenate, zip(*map_row_blocks(of_rows, weight.shape), strict=True))
    return absmax.between(weight, low, high, scheme)


def _ends(
    block: Float32, groups: int, scheme: Scheme, percentile: float
) -> tuple[Float32, Float32]:
    """Where the range of each part of some rows begins and ends, [rows, groups]."""
    grouped = in_groups(block, groups)
    if scheme.symmetric:
        high: Float32 = np.percentile(np.abs(grouped), percentile, axis=2).astype(np.float32)
        return -high, high
    low, high = np.percentile(grouped, (100 - percentile, percentile), axis=2).astype(np.float32)
    return np.minimum(low, 0), np.maximum(high, 0)
