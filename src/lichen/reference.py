"""Runs a graph in NumPy, one plain function an operation: the oracle for the native engine.

Slow and simple on purpose: one sequence, no paging, no fusion, float32 throughout.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lichen import graph as ops
from lichen.schemes import ActivationScheme, dequantize, trellis
from lichen.tensor import FloatArray, Quantized, TrellisTensor

Float32 = npt.NDArray[np.float32]
Weights = Mapping[str, "FloatArray | Quantized"]


class Reference:
    """A graph with its weights and the keys and values of one sequence."""

    def __init__(self, graph: ops.Graph, weights: Weights) -> None:
        self._graph = graph
        self._weights = weights
        shape = graph.cache
        empty = np.empty((0, shape.kv_heads, shape.head_dim), np.float32)
        self._keys = [empty] * shape.layers
        self._values = [empty] * shape.layers

    def step(self, ids: npt.NDArray[np.int32], rows: npt.NDArray[np.int32]) -> Float32:
        """Append ``ids`` [tokens] to the sequence; logits [len(rows), vocabulary] of those rows."""
        start = len(self._keys[0])
        positions = np.arange(start, start + len(ids))
        values: list[Float32] = []
        for node in self._graph.nodes:
            values.append(self._run(node.operation, values, ids, positions, rows))
        return values[-1]

    def _run(
        self,
        operation: ops.Operation,
        values: list[Float32],
        ids: npt.NDArray[np.int32],
        positions: npt.NDArray[np.intp],
        rows: npt.NDArray[np.int32],
    ) -> Float32:
        match operation:
            case ops.Embedding(weight, _, _):
                table = self._weights[weight]
                if isinstance(table, Quantized):
                    return dequantize(table)[ids]
                return self._dense(weight)[ids]
            case ops.RMSNorm(x, weight, eps):
                return rms_norm(values[x.index], self._dense(weight), eps)
            case ops.Linear(x, weight, bias, _):
                y = linear(values[x.index], self._weights[weight])
                return y if bias is None else y + self._dense(bias)
            case ops.Rope():
                return rope(values[operation.x.index], positions, operation)
            case ops.Attention():
                return self._attention(operation, values, positions)
            case ops.SiluMul(gate, up):
                return silu(values[gate.index]) * values[up.index]
            case ops.Add(x, y):
                return values[x.index] + values[y.index]
            case ops.SelectRows(x):
                return values[x.index][rows]

    def _attention(
        self, op: ops.Attention, values: list[Float32], positions: npt.NDArray[np.intp]
    ) -> Float32:
        cached = (len(positions), op.kv_heads, op.head_dim)
        keys = np.concatenate([self._keys[op.layer], values[op.k.index].reshape(cached)])
        vals = np.concatenate([self._values[op.layer], values[op.v.index].reshape(cached)])
        self._keys[op.layer], self._values[op.layer] = keys, vals
        queries = values[op.q.index].reshape(len(positions), op.heads, op.head_dim)
        return attention(queries, keys, vals, positions, op.scale).reshape(len(positions), -1)

    def _dense(self, name: str) -> Float32:
        weight = self._weights[name]
        assert not isinstance(weight, Quantized), f"{name} is used as floats"
        return weight.astype(np.float32)


def rms_norm(x: Float32, weight: Float32, eps: float) -> Float32:
    """Each row of ``x`` [tokens, width] over its root mean square, times ``weight`` [width]."""
    mean_square = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
    return (x / np.sqrt(mean_square + np.float32(eps)) * weight).astype(np.float32)


def linear(x: Float32, weight: FloatArray | Quantized) -> Float32:
    """``x`` [tokens, in] times ``weight`` [out, in]; integer weights may meet int8 activations.

    Codes are floats here, for sums in float64 are exact enough.
    """
    if not isinstance(weight, Quantized):
        return x @ weight.astype(np.float32).T
    if weight.activations is None:
        return x @ dequantize(weight).T
    rounded = fake_quantize(x, weight.activations, weight.input_scale)
    in_own_groups = weight.activations.group_size == trellis.GROUP
    if isinstance(weight, TrellisTensor) and in_own_groups:
        rest = np.where(outweighed(x)[:, None], x - rounded.astype(np.float32), np.float32(0))
        rounded += fake_quantize(rest, weight.activations, None)
    return (rounded @ dequantize(weight).T.astype(np.float64)).astype(np.float32)


def outweighed(x: Float32) -> npt.NDArray[np.bool_]:
    """In which rows [tokens] of ``x`` [tokens, in] the largest makes codes too coarse for the rest.

    Where the sum of all is less than 8 times the largest: there trellis codes meet the codes of the
    rest as well (`native/include/lichen/inputs.h`).
    """
    magnitudes = np.abs(x)
    lopsided: npt.NDArray[np.bool_] = magnitudes.sum(axis=1) < 8 * magnitudes.max(axis=1)
    return lopsided


def fake_quantize(
    x: Float32, scheme: ActivationScheme, input_scale: float | None
) -> npt.NDArray[np.float64]:
    """Activations [tokens, in] as their int8 codes stand for them.

    A scale is one for all as given, or dynamic for each token or group of its columns.  As
    compressed-tensors does it: the range is 255 steps wide, so the scale is absmax / 127.5.
    """
    size = scheme.group_size or x.shape[1]
    short = -x.shape[1] % size  # of trellis codes the last group may be
    grouped = np.pad(x, ((0, 0), (0, short))).reshape(len(x), -1, size)
    if input_scale is None:
        scales = np.max(np.abs(grouped), axis=-1, keepdims=True) / np.float32(127.5)
        scales[scales == 0] = np.finfo(np.float32).eps
    else:
        scales = np.full((1, 1, 1), input_scale, np.float32)
    codes = np.clip(np.rint(grouped / scales), -128, 127)
    rounded: npt.NDArray[np.float64] = codes.astype(np.float64) * scales
    return rounded.reshape(len(x), -1)[:, : x.shape[1]]


def rope(x: Float32, positions: npt.NDArray[np.intp], op: ops.Rope) -> Float32:
    """Rotate the leading pairs of every head of ``x`` [tokens, heads * head_dim]."""
    frequencies = np.array(op.inv_freq, np.float32)
    angles = positions[:, None].astype(np.float32) * frequencies
    cos = (np.cos(angles) * np.float32(op.scale)).astype(np.float32)[:, None, :]
    sin = (np.sin(angles) * np.float32(op.scale)).astype(np.float32)[:, None, :]
    heads = x.reshape(len(x), op.heads, -1).copy()
    half = len(frequencies)
    if op.interleaved:
        first, second = heads[..., 0 : 2 * half : 2], heads[..., 1 : 2 * half : 2]
    else:
        first, second = heads[..., :half], heads[..., half : 2 * half]
    rotated = first * cos - second * sin, second * cos + first * sin
    first[...], second[...] = rotated
    return heads.reshape(x.shape)


def attention(
    q: Float32, k: Float32, v: Float32, positions: npt.NDArray[np.intp], scale: float
) -> Float32:
    """Causal grouped attention: q [tokens, heads, d]; k, v [keys, kv_heads, d]; as q out."""
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("thd,khd->htk", q, k) * np.float32(scale)
    future = np.arange(len(k))[None, :] > positions[:, None]
    scores[:, future] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed: Float32 = np.einsum("htk,khd->thd", weights, v).astype(np.float32)
    return mixed


def silu(x: Float32) -> Float32:
    """``x * sigmoid(x)``."""
    return np.asarray(x / (1 + np.exp(-x)), np.float32)
