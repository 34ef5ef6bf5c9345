"""AWQ: columns that meet large inputs are enlarged before rounding, and so lose less by it.

Lin et al. 2023, arXiv 2306.00978, equations 4 and 5: ``s = mean |X|^alpha``, and alpha is looked
for on a grid, by the error of the products of a sample.  s is divided by the root of its largest
times its least number, as in the authors' code, so that weights keep their size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lichen.schemes import ActivationScheme, Scheme
from lichen.solvers import mse
from lichen.solvers.balancing import least_error
from lichen.solvers.limit import Limit, require, tries
from lichen.solvers.native import Float32
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray

OPTIONS: dict[str, bool | int | float | str] = {"grid": 20}
LIMITS: dict[str, Limit] = {"grid": tries(1)}
NEEDS: frozenset[str] = frozenset({"sample"})

_LEAST_MEAN = 1e-4


def balance(
    weights: Sequence[FloatArray],
    scheme: Scheme,
    inputs: InputStatistics,
    activations: ActivationScheme | None = None,
    *,
    grid: int = 20,
) -> Float32:
    """Factors s [in] for weights [out, in] that meet one input.

    alpha is one of 0 (no change), 1 / grid, ..., (grid - 1) / grid; weights are rounded to their
    least squared error, inputs as ``activations`` says.  ValueError for a grid outside
    `LIMITS`.
    """
    require(LIMITS, grid=grid)
    candidates = [factors(inputs.mean_absolute, step / grid) for step in range(grid)]
    return least_error(weights, inputs, candidates, lambda w: mse.solve(w, scheme), activations)


def factors(mean_absolute: Float32, alpha: float) -> Float32:
    """mean |X|^alpha [in], around 1; 1 where an input is always zero."""
    floored = np.maximum(mean_absolute, _LEAST_MEAN).astype(np.float64)
    s = np.where(mean_absolute > 0, floored**alpha, np.nan)
    if np.isnan(s).all():
        return np.ones_like(mean_absolute)
    middle = np.sqrt(np.nanmax(s) * np.nanmin(s))
    return np.where(np.isnan(s), 1, s / middle).astype(np.float32)
