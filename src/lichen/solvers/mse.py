"""Least squared error of the weights, without data.

The range of codes is laid over parts of the whole range of the weights, from a little more than all
of it (of symmetric codes the outermost weight meets the outermost code, -8 of 4 bits, so a scale
may be negative) to a small part.  For each, codes being fixed, the scale of least squares is a
quotient of two sums, and so is what it takes off the error; the best of them is refined by turns,
rounding anew and fitting anew (Lloyd's iteration, doi 10.1109/TIT.1982.1056489).  A part keeps
what absmax gives where that is better.
"""

from __future__ import annotations

from lichen.schemes import Scheme
from lichen.solvers.limit import Limit, tries
from lichen.solvers.native import Search, encode_trellis, fit
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, Quantized

OPTIONS: dict[str, bool | int | float | str] = {"grid": 16, "turns": 4, "weighted": False}
LIMITS: dict[str, Limit] = {"grid": tries(0), "turns": tries(0)}
NEEDS: frozenset[str] = frozenset()
CALIBRATED_OPTIONS: frozenset[str] = frozenset({"weighted"})

#: A group has few weights, and its outermost ones are worth keeping.
_FEW = 256
_WIDEST, _NARROWEST_OF_FEW, _NARROWEST = 1.15, 0.75, 0.35


def solve(
    weight: FloatArray,
    scheme: Scheme,
    inputs: InputStatistics | None = None,
    *,
    grid: int = 16,
    turns: int = 4,
    weighted: bool = False,
) -> Quantized:
    """Quantize ``weight`` [out, in].

    ``weighted`` multiplies the squared error of each column by the mean square of its inputs.
    ValueError for weights that are not finite, and for ``weighted`` without inputs.
    """
    if weighted and inputs is None:
        raise ValueError("mse is weighted by inputs, which come from calibration")
    if scheme.trellis:
        if weighted:
            raise ValueError("trellis codes are not weighted by inputs: mse is, or codes are plain")
        return encode_trellis(weight)
    importance = inputs.mean_square if weighted and inputs else None
    return fit(weight, scheme, search(weight.shape, scheme, grid, turns), importance)


def search(shape: tuple[int, ...], scheme: Scheme, grid: int = 16, turns: int = 4) -> Search:
    """Where to look for the scales of a weight [out, in]."""
    rows, parts = scheme.scale_shape(shape[0], shape[1])
    few = shape[0] * shape[1] // (rows * parts) <= _FEW
    return Search(grid, turns, _WIDEST, _NARROWEST_OF_FEW if few else _NARROWEST)
