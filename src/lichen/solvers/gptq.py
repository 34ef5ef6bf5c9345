"""GPTQ: columns are rounded in order, and each one's error is made good by those behind it.

Frantar et al. 2022, arXiv 2210.17323, minimize ``sum |(W - Q) x|^2`` = tr((W - Q) H (W - Q)^T)
with H the second moment of the inputs.  They take the errors' way through the rest of a row from
the Cholesky factor of H's inverse; with ``H = (F + 1)^T D (F + 1)``, F strictly lower triangular,
the same codes come out without any inverse (Chee et al. 2023, arXiv 2307.13304, theorem 6): column
k is rounded as ``w_k + sum over j < k of F_kj (w_j - q_j)``, and costs D_k times the square of its
rounding error.

Scales of groups are chosen when their first column is reached, for the weights as they are wanted
by then, each column's error counted D_k times.  With ``act_order`` the columns whose inputs are
largest are rounded first.  Columns of a group stay together then, the groups of the largest inputs
first: in the authors' order a group's scale would have to be chosen for the original weights, long
before most of its columns are reached, which loses more than the order gains.

A moment of few tokens is wrong in just the directions where it is smallest, and errors are led
there: with 16,384 tokens in 8,960 columns and the paper's damping of 0.01, products of other text
lost more than by plain rounding.  So damping grows with columns over tokens; near that share is
where products of unseen text lost least (down and gate projection of Qwen2.5-Coder-1.5B, layer 4).

Trellis codes (`lichen.schemes.trellis`) are the shortest way through their trellis, where each way
that is still open carries its own errors along (`native/kernels/rounding/trellis_feedback.inc.h`).

No theorem says that this beats plain rounding, so each row is compared with what absmax makes of
it, on the calibration data, and the better one is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.reuse import empty
from lichen.row_blocks import map_row_blocks
from lichen.schemes import Scheme, dequantize_rows, to_float32, trellis, trellis_row_bytes
from lichen.solvers import absmax, mse, native
from lichen.solvers.descent import descend
from lichen.solvers.limit import Limit, tries
from lichen.solvers.moment import Moment, along, diagonal
from lichen.solvers.native import Float32, Float64
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, Quantized, QuantizedTensor, TrellisTensor

OPTIONS: dict[str, bool | int | float | str] = {"damping": 0.01, "act_order": False, "sweeps": 0}
NEEDS: frozenset[str] = frozenset({"second_moment"})

_MOST_DAMPING = 10.0

LIMITS: dict[str, Limit] = {
    "damping": Limit("above 0 and at most 10", lambda damping: 0 < damping <= _MOST_DAMPING),
    "sweeps": tries(0),
}


def solve(
    weight: FloatArray,
    scheme: Scheme,
    inputs: InputStatistics | None = None,
    *,
    damping: float = 0.01,
    act_order: bool = False,
    sweeps: int = 0,
) -> Quantized:
    """Quantize ``weight`` [out, in] for inputs like those of calibration.

    ``damping`` plus columns / tokens (of the widest block of H, where it is in blocks), times the
    mean square of all inputs, is added to the diagonal of H; twice as much, and again, where
    float32 cannot factor H with that.  A column whose input is always zero is plainly rounded.
    ``sweeps`` is how often all columns are then gone through again (`lichen.solvers.descent`).
    ValueError for weights that are not finite, and without a second moment.
    """
    if inputs is None or inputs.second_moment is None:
        raise ValueError("gptq needs the second moment of its inputs, which comes from calibration")
    if not damping > 0:
        raise ValueError("damping must be greater than 0")
    if sweeps < 0:
        raise ValueError("sweeps must not be negative")
    moment = inputs.second_moment
    damping += max(map(len, moment)) / inputs.tokens
    if scheme.trellis:
        if act_order or sweeps:
            raise ValueError("act_order and sweeps are not for trellis codes, which have an order")
        return _trellis(weight, moment, damping)
    order = np.arange(weight.shape[1])
    plain = absmax.solve(weight, scheme)
    if act_order:
        order = np.concatenate([at.start + _order(h, scheme.group_size) for at, h in along(moment)])
    work = _Work(weight, order, moment, damping)
    fitted = scheme.granularity == "group"
    search = mse.search(weight.shape, scheme)
    given = plain if fitted else native.fit(weight, scheme, search, inputs.mean_square)
    found, cost = work.round(given, search, fitted=fitted)
    if sweeps:
        found, cost = descend(to_float32(weight), found, moment, work.ridge, sweeps)
    limits = cost if scheme.granularity != "tensor" else np.full_like(cost, np.inf)
    return _better(found, cost, plain, work.cost(plain, limits))


def _trellis(weight: FloatArray, moment: Moment, damping: float) -> TrellisTensor:
    """Trellis codes; those of least squared error in rows where they cost less."""
    columns = weight.shape[1]
    order = trellis.code_order(columns)
    work = _Work(weight, order, moment, damping)
    plain = native.encode_trellis(weight)
    found, costs = work.encode()
    keep = costs <= work.cost(plain, costs)
    return trellis.tensor(np.where(keep[:, None], found.words, plain.words), columns)


class _Work:
    """One weight [out, in], its columns put in the order in which they are rounded."""

    def __init__(
        self, weight: FloatArray, order: npt.NDArray[np.intp], moment: Moment, damping: float
    ) -> None:
        self.weight = _columns(lambda rows: to_float32(weight[rows]), weight.shape, order)
        self.pool = native.pool(weight.size)
        self.order = order
        while not self._factor(moment, damping):
            damping *= 2
            if damping > _MOST_DAMPING:
                raise ValueError("the inputs' second moment is not positive definite")
        roots = diagonal(self.feedback)
        for columns, factor in along(self.feedback):
            factor /= roots[columns, None]
            np.fill_diagonal(factor, 0)
        self.pivots = np.square(roots)

    def _factor(self, moment: Moment, damping: float) -> bool:
        """Whether H, its columns in order, could be factored; ``feedback`` is then its factor."""
        self.ridge = damping * float(diagonal(moment).mean(dtype=np.float64)) or 1.0
        factors = []
        for columns, h in along(moment):
            factor = _in_order(h, self.order[columns] - columns.start)
            squares = factor.diagonal().copy()
            dead = squares <= 0
            np.fill_diagonal(factor, squares + np.float32(self.ridge))
            factor[dead] = factor[:, dead] = 0
            factor[dead, dead] = self.ridge
            if not _core.factor(self.pool, factor):
                return False
            factors.append(factor)
        self.feedback = tuple(factors)
        return True

    def round(
        self, given: QuantizedTensor, search: native.Search, *, fitted: bool
    ) -> tuple[QuantizedTensor, Float64]:
        """The tensor, and what each row costs on the calibration data.

        Scales and zero points are those of ``given`` unless they are ``fitted`` on the way.
        """
        scheme, (rows, columns) = given.scheme, self.weight.shape
        scales = np.array(np.broadcast_to(given.scales, (rows, given.scales.shape[1])))
        zeros = np.zeros_like(scales)
        if given.zeros is not None:
            zeros[:] = given.zeros
        parts = (self.order // (columns // scales.shape[1])).astype(np.int32)
        codes, costs = np.empty((rows, columns), np.int8), np.zeros(rows)
        _core.round_with_feedback(
            self.pool,
            weight=self.weight,
            wanted=self.weight.copy(),
            feedback=self.feedback,
            pivots=self.pivots,
            parts=parts,
            fitted=columns // scales.shape[1] if fitted else 0,
            bits=scheme.bits,
            symmetric=scheme.symmetric,
            scale_type=scheme.scale_type,
            grid=search.grid,
            turns=search.turns,
            widest=search.widest,
            narrowest=search.narrowest,
            scales=scales,
            zeros=zeros,
            codes=codes,
            costs=costs,
        )
        native.require_finite(scales, scheme)
        stored = np.empty_like(codes)
        stored[:, self.order] = codes
        tensor = replace(given, codes=stored)
        if fitted:
            points = None if scheme.symmetric else zeros.astype(np.int8)
            tensor = replace(tensor, scales=scales, zeros=points)
        return tensor, costs - self._undamped(self._errors(tensor))

    def encode(self) -> tuple[TrellisTensor, Float64]:
        """Trellis codes, and what each row costs on the calibration data."""
        rows, columns = self.weight.shape
        words, costs = np.empty((rows, trellis_row_bytes(columns)), np.uint8), np.zeros(rows)
        wanted = empty(self.weight.shape, np.float32)
        wanted[:] = self.weight
        _core.encode_trellis_with_feedback(
            self.pool, self.weight, wanted, self.feedback, self.pivots, words, costs
        )
        made = trellis.tensor(words, columns)
        return made, costs - self._undamped(self._errors(made))

    def cost(self, tensor: Quantized, others: Float64) -> Float64:
        """The squared error of each row's output, a mean over the calibration tokens.

        Of a row that costs more than ``others`` [rows], perhaps only what it costs at least.
        """
        errors, costs = self._errors(tensor), np.zeros(len(self.weight))
        undamped = self._undamped(errors)
        limits = others + undamped
        _core.feedback_costs(self.pool, errors, self.feedback, self.pivots, costs, limits)
        return costs - undamped

    def _errors(self, tensor: Quantized) -> Float32:
        errors = _columns(lambda rows: dequantize_rows(tensor, rows), tensor.shape, self.order)
        return np.subtract(self.weight, errors, out=errors)

    def _undamped(self, errors: Float32) -> Float64:
        """What damping adds to the cost of each row."""
        squares: Float64 = np.einsum("rk,rk->r", errors, errors).astype(np.float64)
        return self.ridge * squares


def _in_order(moment: Float32, order: npt.NDArray[np.intp]) -> Float32:
    """Rows and columns of a symmetric matrix in order."""
    return _columns(lambda rows: moment[order[rows]], moment.shape, order)


def _columns(
    rows_of: Callable[[slice], Float32], shape: tuple[int, ...], order: npt.NDArray[np.intp]
) -> Float32:
    """The columns of a matrix, of which rows can be had, in order."""
    ordered = empty(shape, np.float32)

    def fill(rows: slice) -> None:
        np.take(rows_of(rows), order, axis=1, out=ordered[rows], mode="clip")

    map_row_blocks(fill, shape)
    return ordered


def _order(moment: Float32, size: int | None) -> npt.NDArray[np.intp]:
    """Groups of ``size`` columns by falling mean square of their inputs, columns in each too."""
    size = size or len(moment)
    groups = moment.diagonal().reshape(-1, size)
    within = np.argsort(-groups, axis=1, kind="stable")
    ordered = np.argsort(-groups.sum(axis=1), kind="stable")
    order: npt.NDArray[np.intp] = (ordered[:, None] * size + within[ordered]).ravel()
    return order


def _better(
    found: QuantizedTensor, cost: Float64, plain: QuantizedTensor, plain_cost: Float64
) -> QuantizedTensor:
    """The rows of ``found`` that cost no more, and the others of ``plain``."""
    if found.scheme.granularity == "tensor":
        return found if cost.sum() <= plain_cost.sum() else plain
    keep = (cost <= plain_cost)[:, None]
    zeros = None
    if found.zeros is not None and plain.zeros is not None:
        zeros = np.where(keep, found.zeros, plain.zeros)
    return QuantizedTensor(
        codes=np.where(keep, found.codes, plain.codes),
        scales=np.where(keep, found.scales, plain.scales),
        zeros=zeros,
        scheme=found.scheme,
    )
