"""The native core's arithmetic, as the solvers use it: any scheme, any float type.

Everything runs on all processors that this process may use, and gives the same bits on any number
of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.reuse import empty
from lichen.schemes import Scheme, to_float32, trellis, trellis_row_bytes
from lichen.tensor import FloatArray, Quantized, QuantizedTensor, TrellisTensor

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Fewer numbers than this are not worth waking a thread for.
_ELEMENTS_ALONE = 1 << 15


@dataclass(frozen=True)
class Search:
    """How a scale is looked for.

    ``grid`` ranges, from ``widest`` to ``narrowest`` times the whole one, each with its scale of
    least squares; the best is refined in at most ``turns`` turns.
    """

    grid: int
    turns: int
    widest: float
    narrowest: float


def pool(elements: int) -> _core.ThreadPool:
    """The threads for so many numbers: one for a few of them, else as many as there are cores."""
    return _pool(os.getpid(), 1 if elements < _ELEMENTS_ALONE else _cores())


def _cores() -> int:
    """Processors that this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


@cache
def _pool(
    process: int, threads: int
) -> _core.ThreadPool:  # a fork has none of its parent's threads
    return _core.ThreadPool(threads)


def extremes(weight: FloatArray, scheme: Scheme) -> tuple[Float32, Float32]:
    """The least and the greatest weight of each part, or zero beyond them, as [out, groups].

    ValueError for weights that are not finite.
    """
    low, high = (np.empty(scheme.scale_shape(*weight.shape), np.float32) for _ in range(2))
    stored, name = _stored(weight, scheme)
    _core.extremes(pool(weight.size), stored, name, low, high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("weights are not finite")
    return low, high


def all_finite(tensor: FloatArray) -> bool:
    """Whether a tensor of any shape has no number that is infinite or none at all."""
    rows = tensor.reshape(len(tensor), -1)
    try:
        extremes(rows, Scheme(8))
    except ValueError:
        return False
    return True


def fit(
    weight: FloatArray, scheme: Scheme, search: Search, importance: Float32 | None = None
) -> QuantizedTensor:
    """Scales, zero points and codes of nearly least squared error.

    ``importance`` [in] multiplies the squared error of each column.  ValueError for weights that
    are not finite, or too large for the scales' type.
    """
    codes = empty(weight.shape, np.int8)
    scales, zeros = (np.empty(scheme.scale_shape(*weight.shape), np.float32) for _ in range(2))
    if importance is not None and scheme.granularity == "tensor":
        importance = np.tile(importance, len(weight))
    stored, name = _stored(weight, scheme)
    _core.fit(
        pool(weight.size),
        stored,
        name,
        bits=scheme.bits,
        symmetric=scheme.symmetric,
        scale_type=scheme.scale_type,
        scales=scales,
        zeros=zeros,
        codes=_rows(codes, scheme),
        grid=search.grid,
        turns=search.turns,
        widest=search.widest,
        narrowest=search.narrowest,
        importance=importance,
    )
    require_finite(scales, scheme)
    return QuantizedTensor(codes, scales, _integers(zeros, scheme), scheme)


def encode_trellis(weight: FloatArray) -> TrellisTensor:
    """Trellis codes of nearly least squared error.

    ValueError for weights that are not finite, or too large for any unit.
    """
    words = empty((len(weight), trellis_row_bytes(weight.shape[1])), np.uint8)
    stored, name = _stored(weight, trellis.SCHEME)
    _core.encode_trellis(pool(weight.size), stored, name, words)
    return trellis.tensor(words, weight.shape[1])


def lower_norm(
    weight: FloatArray,
    start: QuantizedTensor,
    second: QuantizedTensor,
    *,
    norm: float,
    beta: float,
    turns: int,
) -> QuantizedTensor:
    """What `lichen.solvers.hqq` makes of two quantizations of ``weight``, turns from the second."""
    scheme, (scales, zeros) = start.scheme, floats(start)
    second_scales, second_zeros = floats(second)
    stored, name = _stored(weight, scheme)
    _core.half_quadratic(
        pool(weight.size),
        stored,
        name,
        bits=scheme.bits,
        symmetric=scheme.symmetric,
        scale_type=scheme.scale_type,
        second_scales=second_scales,
        second_zeros=second_zeros,
        scales=scales,
        zeros=zeros,
        norm=norm,
        beta=beta,
        turns=turns,
    )
    return round_to(weight, scales, scheme, _integers(zeros, scheme))


def round_to(
    weight: FloatArray,
    scales: Float32,
    scheme: Scheme,
    zeros: npt.NDArray[np.int8] | None = None,
) -> QuantizedTensor:
    """What `lichen.schemes.quantize` gives; weights and scales must be finite."""
    codes = empty(weight.shape, np.int8)
    points = np.zeros_like(scales) if zeros is None else zeros.astype(np.float32)
    stored, name = _stored(weight, scheme)
    _core.round(pool(weight.size), stored, name, scheme.bits, scales, points, _rows(codes, scheme))
    return QuantizedTensor(codes, scales, zeros, scheme)


def squared_errors(weight: FloatArray, tensor: Quantized) -> tuple[Float64, Float64]:
    """The squared error of each row of ``tensor``, and the squares of that of ``weight``.

    Of a tensor that shares one scale, all of it is one row.
    """
    if isinstance(tensor, TrellisTensor):
        errors, squares = np.zeros(len(weight)), np.zeros(len(weight))
        stored, name = _stored(weight, tensor.scheme)
        _core.trellis_squares(pool(weight.size), stored, name, tensor.words, errors, squares)
        return errors, squares
    codes, (scales, zeros) = _rows(tensor.codes, tensor.scheme), floats(tensor)
    errors, squares = np.zeros(len(codes)), np.zeros(len(codes))
    stored, name = _stored(weight, tensor.scheme)
    _core.squares(
        pool(weight.size),
        stored,
        name,
        scales=scales,
        zeros=zeros,
        codes=np.ascontiguousarray(codes),
        errors=errors,
        squares=squares,
    )
    return errors, squares


def relative_error(weight: FloatArray, tensor: Quantized) -> float:
    """The squared error of ``tensor`` over the squares of ``weight``; 0 for a weight of zeros."""
    return ratio(*squared_errors(weight, tensor))


def ratio(errors: Float64, squares: Float64) -> float:
    """The sum of errors over that of squares; 0 where all squares are."""
    whole = squares.sum()
    return float(errors.sum() / whole) if whole else 0.0


def require_finite(scales: Float32, scheme: Scheme) -> None:
    """ValueError for scales that came from weights that are not finite or too large."""
    if np.isnan(scales).any():
        raise ValueError("weights are not finite")
    if not np.isfinite(scales).all():
        raise ValueError(f"weights are too large for scales in {scheme.scale_type}")


def multiply(a: Float32, b: Float32) -> Float32:
    """``a @ b.T``; a [m, k], b [n, k]."""
    product = np.zeros((len(a), len(b)), np.float32)
    _core.multiply(pool(a.size * len(b)), np.ascontiguousarray(a), np.ascontiguousarray(b), product)
    return product


def _stored(weight: FloatArray, scheme: Scheme) -> tuple[npt.NDArray[Any], str]:
    """A weight as the core takes it, and the name of its type."""
    name = weight.dtype.name
    if name not in ("float32", "float16", "bfloat16"):
        weight, name = to_float32(weight), "float32"
    contiguous = _rows(np.ascontiguousarray(weight), scheme)
    return contiguous if name == "float32" else contiguous.view(np.uint16), name


def _rows(array: npt.NDArray[Any], scheme: Scheme) -> npt.NDArray[Any]:
    """Rows of whole parts: all of a tensor is one row where it shares a scale."""
    return array.reshape(1, -1) if scheme.granularity == "tensor" else array


def floats(tensor: QuantizedTensor) -> tuple[Float32, Float32]:
    """A tensor's scales, and its zero points as the core takes them, in arrays of their own."""
    zeros = np.zeros_like(tensor.scales)
    if tensor.zeros is not None:
        zeros[:] = tensor.zeros
    return tensor.scales.copy(), zeros


def _integers(zeros: Float32, scheme: Scheme) -> npt.NDArray[np.int8] | None:
    return None if scheme.symmetric else zeros.astype(np.int8)
