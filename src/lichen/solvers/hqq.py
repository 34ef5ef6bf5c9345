"""Half-quadratic quantization: without data, for an error norm that lets a few weights go.

Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models", minimize
``sum |W - Q|^p`` with p below 1, which large errors of few weights raise less than the square
would.  A second variable stands for those: ``E = shrink(W - Q)``, towards zero by
``|x|^(p - 1) / beta`` (their generalized soft threshold); then the rest, W - E, is met by least
squares; and beta grows from turn to turn.  Errors are counted in steps of the scale, so that the
threshold means the same for weights of every size.

They fit a zero point that is any number.  Here it is a whole one, as the formats have it, so the
scale is fitted along with it, and alone where a scheme is symmetric.  Turns begin with the least
squared error, and a part keeps the best it had, absmax included: the objective never grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lichen.schemes import Scheme, in_groups, to_float32
from lichen.solvers import absmax, mse, native
from lichen.solvers.native import Float32
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, QuantizedTensor

OPTIONS: dict[str, bool | int | float | str] = {"norm": 0.7, "beta": 10.0, "turns": 10}
NEEDS: frozenset[str] = frozenset()

_GROWTH = 1.01
_LEAST_GAIN = 1e-3
_LEAST_ERROR = 1e-6  # in steps: what is smaller counts as this, for its power has no bound


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

    There are at most ``turns``; they end when one takes off less than a thousandth.
    ValueError for weights that are not finite, a norm that is not between 0 and 1, and a beta that
    is not above 0.
    """
    if not 0 < norm < 1:
        raise ValueError(f"norm is {norm}, not between 0 and 1")
    if not beta > 0:
        raise ValueError(f"beta is {beta}, not above 0")
    starts = [_starting_point(solver.solve(weight, scheme)) for solver in (absmax, mse)]
    scales, zeros = (np.empty_like(values) for values in starts[0])
    whole = scheme.granularity == "tensor"
    rows = weight.reshape(1, -1) if whole else weight

    def improve(part: slice) -> None:
        grouped = in_groups(to_float32(rows[part]), scales.shape[1])
        search = _Search(grouped, scheme, norm, beta, turns)
        scales[part], zeros[part] = search.best([(s[part], z[part]) for s, z in starts])

    native.map_rows(improve, rows.shape)
    points = None if scheme.symmetric else zeros.astype(np.int8)
    return native.round_to(weight, scales, scheme, points)


def _starting_point(tensor: QuantizedTensor) -> tuple[Float32, Float32]:
    zeros = np.zeros_like(tensor.scales)
    if tensor.zeros is not None:
        zeros[:] = tensor.zeros
    return tensor.scales, zeros


@dataclass(frozen=True)
class _Search:
    """Some rows [rows, groups, size], each group on its own."""

    weight: Float32
    scheme: Scheme
    norm: float
    beta: float
    turns: int

    def best(self, starts: list[tuple[Float32, Float32]]) -> tuple[Float32, Float32]:
        """Scales and zero points [rows, groups] that are no worse than any of ``starts``.

        The last one is where the turns begin.
        """
        best_scales, best_zeros = (values.copy() for values in starts[0])
        least = self._turn(*starts[0], self.beta)[0]
        (scales, zeros), beta = starts[-1], self.beta
        for _ in range(self.turns + 1):
            objective, scales_next, zeros_next = self._turn(scales, zeros, beta)
            before = float(least.sum())
            better = objective < least
            np.copyto(least, objective, where=better)
            np.copyto(best_scales, scales, where=better)
            np.copyto(best_zeros, zeros, where=better)
            if before - float(least.sum()) <= _LEAST_GAIN * before:
                break
            scales, zeros, beta = scales_next, zeros_next, beta * _GROWTH
        return best_scales, best_zeros

    def _turn(
        self, scales: Float32, zeros: Float32, beta: float
    ) -> tuple[Float32, Float32, Float32]:
        """The objective of what is given, and what to try next."""
        steps = self.weight / scales[:, :, None]  # weights in steps
        codes = steps + zeros[:, :, None]
        np.rint(codes, out=codes)
        np.clip(codes, self.scheme.low, self.scheme.high, out=codes)
        codes -= zeros[:, :, None]
        error = steps - codes
        size = np.abs(error)
        np.maximum(size, np.float32(_LEAST_ERROR), out=size)
        power = np.power(size, np.float32(self.norm - 1))
        sums: Float32 = np.einsum("rgk,rgk->rg", size, power)
        objective: Float32 = sums * np.power(np.abs(scales), np.float32(self.norm))
        power /= np.float32(beta)
        size -= power
        np.maximum(size, 0, out=size)
        np.copysign(size, error, out=size)
        steps -= size  # without the errors that are let go
        return objective, *self._fitted(scales, zeros, steps, codes)

    def _fitted(
        self, scales: Float32, zeros: Float32, steps: Float32, codes: Float32
    ) -> tuple[Float32, Float32]:
        """Least squares of steps over codes, which are counted from the zero point."""
        products: Float32 = np.einsum("rgk,rgk->rg", steps, codes)
        squares: Float32 = np.einsum("rgk,rgk->rg", codes, codes)
        slope = np.divide(products, squares, out=np.ones_like(squares), where=squares > 0)
        if self.scheme.symmetric:
            return absmax.stored_scales(scales * slope, self.scheme), zeros
        size = steps.shape[2]
        sums, code_sums = steps.sum(axis=2), codes.sum(axis=2)
        spread = size * squares - code_sums * code_sums
        line = np.divide(
            size * products - sums * code_sums, spread, out=slope.copy(), where=spread > 0
        )
        slope = np.where(line > 0, line, slope)
        offset = (sums - slope * code_sums) / size
        moved = np.rint(zeros - np.divide(offset, slope, out=np.zeros_like(slope), where=slope > 0))
        moved = np.clip(moved, self.scheme.low, self.scheme.high).astype(np.float32)
        return absmax.stored_scales(scales * slope, self.scheme), moved
