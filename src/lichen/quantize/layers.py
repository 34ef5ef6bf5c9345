"""One tensor at a time: a weight by its rule, or a tensor that stays in floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lichen.checkpoint.compressed_tensors import stored
from lichen.checkpoint.manifest import LayerRecord, NarrowedRecord
from lichen.checkpoint.protocol import FLOAT_TYPES
from lichen.errors import InputError
from lichen.quantize.assignment import Assignment, layer_format
from lichen.recipe import Method, Rule
from lichen.row_blocks import map_row_blocks
from lichen.schemes import FLOATS, Scheme, dequantize_rows, in_floats, to_float32
from lichen.solvers import native, solver
from lichen.solvers.ranges import input_scale
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, Quantized

Float32 = npt.NDArray[np.float32]

#: float16 may stand for dequantized values when it adds no more than this relative squared error:
#: ten times what rounding to 11 bits costs, so it is passed only where values leave its range.
_NARROWING_ERROR = 1e-6


def read_floats(work: Assignment, name: str) -> FloatArray:
    """A tensor of the source in floats, what a quantized one stands for."""
    return in_floats(work.source.read(name))


def read_finite(work: Assignment, name: str) -> FloatArray:
    """As `read_floats`; InputError where it is not finite."""
    return _require_finite(work, name, read_floats(work, name))


def solved(
    work: Assignment,
    name: str,
    weight: FloatArray,
    scheme: Scheme,
    method: Method,
    inputs: InputStatistics | None = None,
) -> Quantized:
    """A weight in a format; InputError where it is not finite, or has no place in that format."""
    try:
        return solver(method.name).solve(weight, scheme, inputs, **method.options)
    except ValueError as error:
        raise InputError(f"{work.source.path}: {name}: {error}.") from None


def quantized(
    work: Assignment,
    name: str,
    weight: FloatArray,
    inputs: InputStatistics | None = None,
) -> tuple[Quantized, LayerRecord]:
    """A weight by its rule, and what there is to say of it; InputError as for `solved`."""
    rule = work.to_quantize[name][1]
    made = replace(
        solved(work, name, weight, work.scheme(name), rule.solver, inputs),
        activations=rule.activations,
        input_scale=_input_scale(rule, inputs),
    )
    output_error = None if inputs is None else _output_error(weight, made, inputs)
    return made, layer_record(work, name, native.relative_error(weight, made), output_error)


def layer_record(
    work: Assignment, name: str, error: float, output_error: float | None = None
) -> LayerRecord:
    """What there is to say of a weight that was quantized by its rule."""
    layer, rule = work.to_quantize[name]
    rows, columns = work.matrix(name)
    return LayerRecord(
        name=layer,
        rows=rows,
        columns=columns,
        format=str(layer_format(rule)),
        solver=str(rule.solver),
        scaling=None if rule.scaling is None else str(rule.scaling),
        bits=work.stored_bits(name) / (rows * columns),
        error=error,
        output_error=output_error,
        why=work.why.get(name, ""),
    )


def written(work: Assignment, name: str, tensor: Quantized) -> dict[str, npt.NDArray[Any]]:
    """The tensors of the folder that a quantized weight becomes."""
    return stored(work.to_quantize[name][0], tensor, head=shared_with(work, name))


def shared_with(work: Assignment, name: str) -> str | None:
    """The layer without codes of its own that reads those of a table, where there is one."""
    return work.sharing if name in work.tables else None


def _input_scale(rule: Rule, inputs: InputStatistics | None) -> float | None:
    if rule.range_ is None:
        return None
    assert inputs is not None
    assert inputs.histogram is not None
    return input_scale(inputs.histogram, rule.range_)


def _output_error(weight: FloatArray, made: Quantized, inputs: InputStatistics) -> float | None:
    """Squared error of the product over its square, on the sample of the inputs, in floats."""
    if inputs.sample is None:
        return None
    sample = inputs.sample

    def sums(rows: slice) -> tuple[float, float]:
        exact = sample @ to_float32(weight[rows]).T
        found = sample @ dequantize_rows(made, rows).T
        return _sum_of_squares(found - exact), _sum_of_squares(exact)

    error, scale = np.sum([sums(rows) for rows in _row_slices(weight)], axis=0)
    # Products of floats end in other digits with other numbers of threads; these are the same.
    return float(f"{error / scale:.4g}") if scale else 0.0


def _row_slices(weight: FloatArray, rows: int = 1024) -> list[slice]:
    return [slice(start, start + rows) for start in range(0, len(weight), rows)]


def kept(
    work: Assignment, name: str, tensor: FloatArray
) -> tuple[FloatArray, NarrowedRecord | None]:
    """A tensor that stays in floats: as it was stored, or narrowed where it was dequantized."""
    if name not in work.in_use:
        return tensor, None  # a buffer that others may want; it need not even be floats
    _require_finite(work, name, tensor)
    if work.source.dtype(name) in FLOAT_TYPES:
        return tensor.astype(FLOATS[work.float_type(name)], copy=False), None
    narrow = np.empty(tensor.shape, np.float16)

    def narrowed(rows: slice) -> Float32:
        with np.errstate(over="ignore"):
            narrow[rows] = tensor[rows]
        return narrow[rows].astype(np.float32)

    error = _relative_error(tensor, narrowed)
    fits = error <= _NARROWING_ERROR
    dtype, error = ("float16", error) if fits else ("float32", 0.0)
    record = NarrowedRecord(name=name, dtype=dtype, error=error)
    return narrow if fits else tensor.astype(np.float32, copy=False), record


def _require_finite(work: Assignment, name: str, tensor: FloatArray) -> FloatArray:
    if not native.all_finite(tensor):
        raise InputError(f"{work.source.path}: {name} has values that are not finite.")
    return tensor


def _relative_error(tensor: FloatArray, approximation: Callable[[slice], Float32]) -> float:
    """Squared error of an approximation over the sum of squares; 0 for a tensor of zeros.

    ``approximation`` gives the rows that it is asked for.
    """

    def sums(rows: slice) -> tuple[float, float]:
        block = to_float32(tensor[rows])
        return _sum_of_squares(approximation(rows) - block), _sum_of_squares(block)

    error, scale = np.sum(map_row_blocks(sums, tensor.shape), axis=0)
    return float(error / scale) if scale else 0.0


def _sum_of_squares(block: Float32) -> float:
    """The sum of squares, in an order that does not depend on threads as a BLAS product's does."""
    return float(np.square(block).sum())
