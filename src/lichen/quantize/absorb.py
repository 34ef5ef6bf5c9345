"""Where the factors that inputs are divided by can go: into what made the input.

A product is the same when its input is divided by ``s`` and the columns of its weight multiplied
by ``s``.  The division costs nothing where it can be done once, in the numbers of the operation
before: a norm's gain, or the rows of the product that the last factor of the input comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lichen import graph as ops
from lichen.schemes import to_float32
from lichen.solvers.absmax import scale_limits, stored_scales
from lichen.tensor import AnyTensor, FloatArray, QuantizedTensor

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Absorber:
    """The weights, each of one row for every column of the input, that a division can go into.

    ``vectors`` are names of vectors (a gain, a bias), ``matrix`` that of a matrix or None.
    """

    vectors: tuple[str, ...]
    matrix: str | None

    def divide(
        self,
        factors: Float32,
        read: Callable[[str], AnyTensor],
        write: Callable[[str, AnyTensor], None],
    ) -> Float32:
        """Divide by ``factors`` [in] as well as stored types allow; what it really came to."""
        if self.matrix is None:
            [gain] = self.vectors
            return _divide_gain(gain, factors, read, write)
        made, factors = _divide_rows(read(self.matrix), factors)
        write(self.matrix, made)
        for name in self.vectors:
            vector = _floats(read(name))
            write(name, (to_float32(vector) / factors).astype(vector.dtype))
        return factors


def absorber(graph: ops.Graph, x: ops.Value) -> Absorber | None:
    """What a division of the input ``x`` of some products can go into; None where nothing can.

    Nothing else may read ``x``.  Attention's output is taken apart only where every query head has
    values of its own.
    """
    readers = [n.operation for n in graph.nodes if x in ops.inputs(n.operation)]
    if not all(isinstance(reader, ops.Linear) for reader in readers):
        return None
    match _maker(graph, x):
        case ops.RMSNorm(_, weight, _):
            return Absorber((weight,), None)
        case ops.SiluMul(_, up):
            return _rows_of(graph, up)
        case ops.Attention(_, _, v, heads=heads, kv_heads=kv_heads) if heads == kv_heads:
            return _rows_of(graph, v)
    return None


def _rows_of(graph: ops.Graph, value: ops.Value) -> Absorber | None:
    maker = _maker(graph, value)
    if not isinstance(maker, ops.Linear):
        return None
    return Absorber(() if maker.bias is None else (maker.bias,), maker.weight)


def _maker(graph: ops.Graph, value: ops.Value) -> ops.Operation:
    return next(node.operation for node in graph.nodes if node.value == value)


def _divide_gain(
    name: str,
    factors: Float32,
    read: Callable[[str], AnyTensor],
    write: Callable[[str, AnyTensor], None],
) -> Float32:
    gain = _floats(read(name))
    divided = (to_float32(gain) / factors).astype(gain.dtype)
    held = (to_float32(divided) != 0) & np.isfinite(to_float32(divided))
    divided[~held] = gain[~held]
    write(name, divided)
    ones = np.ones_like(factors)
    return np.divide(to_float32(gain), to_float32(divided), out=ones, where=to_float32(gain) != 0)


def _divide_rows(tensor: AnyTensor, factors: Float32) -> tuple[AnyTensor, Float32]:
    """Rows over their factors; a quantized row keeps its codes and has other scales.

    Scales of 16 bits round anew; a row where one would lose more than its type always may, because
    it becomes too small or too large, is left as it is.
    """
    if isinstance(tensor, np.ndarray):
        return (to_float32(tensor) / factors[:, None]).astype(tensor.dtype), factors
    assert isinstance(tensor, QuantizedTensor)
    if tensor.scheme.granularity == "tensor":
        return tensor, np.ones_like(factors)
    exact = tensor.scales / factors[:, None]
    limits = scale_limits(tensor.scheme)
    largest = np.float32(limits.max)
    scales = stored_scales(np.clip(exact, -largest, largest), tensor.scheme)
    limit = np.float32(limits.eps) * np.abs(exact)
    fits = (np.abs(scales - exact) <= limit).all(axis=1)
    scales[~fits] = tensor.scales[~fits]
    return replace(tensor, scales=scales), _ratio(tensor.scales, scales)


def _ratio(before: Float32, after: Float32) -> Float32:
    """What rows [rows, groups] were divided by, rounding included: least squares over groups."""
    wide = after.astype(np.float64)
    ratio: Float32 = ((wide * before).sum(axis=1) / np.square(wide).sum(axis=1)).astype(np.float32)
    return ratio


def _floats(tensor: AnyTensor) -> FloatArray:
    assert isinstance(tensor, np.ndarray)
    return tensor
