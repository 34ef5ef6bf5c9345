"""Half-quadratic quantization: without data, for an error norm that lets a few weights go.

Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models", minimize
``sum |W - Q|^p`` with p below 1, which large errors of few weights raise less than the square
would.  A second variable stands for those: ``E = shrink(W - Q)``, towards zero by
``|x|^(p - 1) / beta`` (their generalized soft threshold); then the rest, W - E, is met by least
squares; and beta grows by a hundredth from turn to turn.  Errors are counted in steps of the scale,
so that the threshold means the same for weights of every size; less than a millionth of a step
counts as that.

They fit a zero point that is any number.  Here it is a whole one, as the formats have it, so the
scale is fitted along with it, and alone where a scheme is symmetric.  Turns begin with the least
squared error, and a part keeps the best it had, absmax included: the objective never grows.
"""

from __future__ import annotations

from lichen.schemes import Scheme
from lichen.solvers import absmax, mse, native
from lichen.solvers.limit import Limit, require, tries
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, QuantizedTensor

OPTIONS: dict[str, bool | int | float | str] = {"norm": 0.7, "beta": 10.0, "turns": 10}
LIMITS: dict[str, Limit] = {
    "norm": Limit("between 0 and 1", lambda norm: 0 < norm < 1),
    "beta": Limit("above 0 and at most 1000000", lambda beta: 0 < beta <= 1_000_000),
    "turns": tries(0),
}
NEEDS: frozenset[str] = frozenset()


def solve(
    weight: FloatArray,
    scheme: Scheme,
    inputs: InputStatistics | None = None,
    *,
    norm: float = 0.7,
    beta: float = 10.0,
    turns: int = 10,
) -> QuantizedTensor:
    """Quantize ``weight`` [out, in].

    There are at most ``turns`` for a part; they end when one changes nothing.
    ValueError for weights that are not finite, and for options outside `LIMITS`.
    """
    require(LIMITS, norm=norm, beta=beta, turns=turns)
    plain = absmax.solve(weight, scheme)
    fitted = native.fit(weight, scheme, mse.search(weight.shape, scheme))
    return native.lower_norm(weight, plain, fitted, norm=norm, beta=beta, turns=turns)
