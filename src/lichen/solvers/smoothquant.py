"""SmoothQuant: what makes inputs hard to quantize is moved, in part, into the weights.

Xiao et al. 2022, arXiv 2211.10438, equation 4: ``s_j = max |X_j|^alpha / max |W_j|^(1 - alpha)``.
X / s and W * s have the same product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lichen.schemes import ActivationScheme, Scheme, to_float32
from lichen.solvers import absmax
from lichen.solvers.balancing import least_error
from lichen.solvers.limit import Limit, require, tries
from lichen.solvers.native import Float32
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray

OPTIONS: dict[str, bool | int | float | str] = {"alpha": 0.5, "search": False, "grid": 20}
LIMITS: dict[str, Limit] = {
    "alpha": Limit("0 to 1", lambda alpha: 0 <= alpha <= 1),
    "grid": tries(1),
}
NEEDS: frozenset[str] = frozenset({"sample"})

#: A column of weights smaller than this counts as so large.
_LEAST_WEIGHT = 1e-5


def balance(
    weights: Sequence[FloatArray],
    scheme: Scheme,
    inputs: InputStatistics,
    activations: ActivationScheme | None = None,
    *,
    alpha: float = 0.5,
    search: bool = False,
    grid: int = 20,
) -> Float32:
    """Factors s [in] for weights [out, in] that meet one input.

    With ``search`` alpha is one of 0, 1 / grid, ..., 1, or all factors are 1: whatever leaves the
    least error in the products of the sample, inputs quantized too as ``activations`` says.
    A column whose input is always zero has factor 1.  ValueError for an alpha or a grid
    outside `LIMITS`.
    """
    require(LIMITS, alpha=alpha, grid=grid)
    largest = largest_weights(weights)
    if not search:
        return factors(inputs.absmax, largest, alpha)
    candidates = [factors(inputs.absmax, largest, step / grid) for step in range(grid + 1)]
    plain = np.ones_like(largest)
    return least_error(
        weights, inputs, [plain, *candidates], lambda w: absmax.solve(w, scheme), activations
    )


def factors(inputs: Float32, weights: Float32, alpha: float) -> Float32:
    """Equation 4 for the largest magnitudes of each column [in]."""
    floored = np.maximum(weights, _LEAST_WEIGHT).astype(np.float64)
    with np.errstate(divide="ignore"):
        s = inputs.astype(np.float64) ** alpha / floored ** (1 - alpha)
    return np.where(inputs > 0, s, 1).astype(np.float32)


def largest_weights(weights: Sequence[FloatArray]) -> Float32:
    """The largest magnitude in each column of all weights."""
    largest: Float32 = np.stack([np.abs(to_float32(w)).max(axis=0) for w in weights]).max(axis=0)
    return largest
