"""Lowers a graph with its weights to a native plan.

Four things are fused on the way: products of one input run as one phase (q, k, v), so that the
input is quantized once; a gate and what it gates are multiplied piece by piece (gate, up), so that
neither is kept; the product before a residual addition adds straight into the residual; rotary
positions turn in place.  The plan itself reuses the memory of dead values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lichen import _core
from lichen import graph as ops
from lichen.engine.key_units import key_units
from lichen.engine.lowering import FLOAT_KERNELS, Rounding, lower
from lichen.errors import InputError
from lichen.read_ahead import LARGE_ELEMENTS, ReadAhead
from lichen.schemes import FLOATS
from lichen.tensor import AnyTensor, FloatArray

#: Names a weight and gets it.
ReadWeight = Callable[[str], AnyTensor]


def compile_graph(
    graph: ops.Graph,
    read: ReadWeight,
    pool: _core.ThreadPool,
    isa: str,
    max_tokens: int,
    kv_cache: str = "float32",
) -> _core.Plan:
    """Pack all weights and lay the plan out, for steps of up to ``max_tokens`` tokens.

    Only a plan for an int8 cache knows what units such a cache holds keys in.
    """
    matrices = _largest_first(graph)
    names = [name for pair in matrices for name in pair if name is not None]
    shapes = dict(graph.weights())
    names += [name for name in shapes if name not in names]
    large = {name for name, shape in shapes.items() if math.prod(shape) > LARGE_ELEMENTS}
    with ReadAhead(read, names, large) as ahead:
        packer = Packer(shapes, ahead.read, pool, isa)
        for weight, bias in matrices:
            packer.matrix(weight, bias)
        return _Compiler(graph.nodes, packer, _core.Plan(pool, isa, max_tokens), kv_cache).whole()


def compile_part(
    nodes: Sequence[ops.Node],
    inputs: Sequence[ops.Value],
    taps: Sequence[ops.Value],
    packer: Packer,
    max_tokens: int,
) -> _core.Plan:
    """A plan of some consecutive nodes, which `relay` runs: from ``inputs`` to ``taps``.

    Nodes must not select rows.
    """
    plan = _core.Plan(packer.pool, packer.isa, max_tokens)
    return _Compiler(nodes, packer, plan, "float32").part(inputs, taps)


def _largest_first(graph: ops.Graph) -> list[tuple[str, str | None]]:
    """Matrices with their biases, in the order to pack them.

    A matrix that is not packed from its file is in memory twice while it is packed, so the large
    ones go first, when little else is.
    """
    shapes = dict(graph.weights())
    pairs: dict[tuple[str, str | None], None] = {}
    for node in graph.nodes:
        match node.operation:
            case ops.Embedding(weight, _, _):
                pairs[weight, None] = None
            case ops.Linear(_, weight, bias, _):
                pairs[weight, bias] = None
    return sorted(pairs, key=lambda pair: -math.prod(shapes[pair[0]]))


class _Compiler:
    def __init__(
        self, nodes: Sequence[ops.Node], weights: Packer, plan: _core.Plan, kv_cache: str
    ) -> None:
        self._nodes = nodes
        self._weights = weights
        self._plan = plan
        self._kv_cache = kv_cache
        self._last_reader = {
            value.index: position
            for position, node in enumerate(nodes)
            for value in ops.inputs(node.operation)
        }
        self._buffers: dict[int, int] = {}
        self._done: set[int] = set()

    def whole(self) -> _core.Plan:
        self._lower_all()
        self._plan.output(self._buffers[self._nodes[-1].value.index])
        return self._plan

    def part(self, inputs: Sequence[ops.Value], taps: Sequence[ops.Value]) -> _core.Plan:
        for value in inputs:
            self._plan.input(self._new(value))
        for value in taps:
            self._last_reader[value.index] = len(self._nodes)
        self._lower_all()
        for value in taps:
            self._plan.tap(self._buffers[value.index])
        self._plan.finish()
        return self._plan

    def _lower_all(self) -> None:
        for position, node in enumerate(self._nodes):
            if node.value.index not in self._done:
                self._lower(position, node)

    def _lower(self, position: int, node: ops.Node) -> None:
        plan, operation, value = self._plan, node.operation, node.value
        match operation:
            case ops.Embedding(weight, _, _):
                plan.embedding(self._weights.matrix(weight, None), self._new(value))
            case ops.RMSNorm(x, weight, eps):
                out = self._new(value)
                plan.rms_norm(self._buffers[x.index], out, self._weights.vector(weight), eps)
            case ops.Linear():
                self._lower_linears(position, operation, value)
            case ops.Rope(x, heads, inv_freq, scale, interleaved):
                head_dim = x.width // heads
                frequencies = np.array(inv_freq, np.float32)
                buffer = self._take_over(position, x, value)
                plan.rope(buffer, heads, head_dim, frequencies, scale, interleaved)
            case ops.Attention(q, k, v, layer, heads, kv_heads, head_dim, scale):
                out = self._new(value)
                q_in, k_in, v_in = (self._buffers[x.index] for x in (q, k, v))
                units = self._key_units(k, head_dim) if self._kv_cache == "int8" else None
                plan.attention(
                    q_in, k_in, v_in, out, layer, heads, kv_heads, head_dim, scale, units
                )
            case ops.SiluMul(gate, up):
                out = self._new(value)
                plan.silu_mul(self._buffers[gate.index], self._buffers[up.index], out)
            case ops.Add(x, y):
                out = self._new(value)
                plan.add(self._buffers[x.index], self._buffers[y.index], out)
            case ops.SelectRows(x):
                out = self._new(value)
                plan.select_rows(self._buffers[x.index], out)

    def _lower_linears(self, position: int, first: ops.Linear, value: ops.Value) -> None:
        x = self._buffers[first.x.index]
        matrix = self._weights.matrix(first.weight, first.bias)
        if addition := self._residual_after(position, value):
            assert isinstance(addition.operation, ops.Add)
            out = self._take_over(position + 1, addition.operation.x, addition.value)
            rounded = self._rounded(x, first)
            self._plan.linear(rounded, [(matrix, out)], accumulate=True)
            self._done.add(addition.value.index)
            return
        if gated := self._gated_after(position, value):
            up, joined = gated
            assert isinstance(up.operation, ops.Linear)
            if self._weights.inputs(first) == self._weights.inputs(up.operation):
                other = self._weights.matrix(up.operation.weight, up.operation.bias)
                out = self._new(joined.value)
                self._plan.gated(self._rounded(x, first), matrix, other, out)
                self._done |= {up.value.index, joined.value.index}
                return
        products = [(first, matrix, self._new(value))]
        for node in self._siblings(position, first.x):
            assert isinstance(node.operation, ops.Linear)
            other = self._weights.matrix(node.operation.weight, node.operation.bias)
            products.append((node.operation, other, self._new(node.value)))
            self._done.add(node.value.index)
        alike: dict[object, list[tuple[ops.Linear, _core.Linear, int]]] = {}
        for product in products:
            alike.setdefault(self._weights.inputs(product[0]), []).append(product)
        for same in alike.values():
            outs = [(linear, out) for _, linear, out in same]
            self._plan.linear(self._rounded(x, same[0][0]), outs)

    def _rounded(self, x: int, linear: ops.Linear) -> int:
        """The buffer that a product reads: ``x``, or ``x`` in steps of the input's scheme."""
        rounding = self._weights.rounding(linear)
        if rounding is None:
            return x
        rounded = self._plan.value(linear.x.width)
        self._plan.fake_quantize(x, rounded, *rounding)
        return rounded

    def _key_units(self, k: ops.Value, head_dim: int) -> FloatArray | None:
        """What an int8 cache holds keys in units of; None where they are no rotated product."""
        rope = self._maker(k)
        linear = self._maker(rope.x) if isinstance(rope, ops.Rope) else None
        if not (isinstance(rope, ops.Rope) and isinstance(linear, ops.Linear)):
            return None
        norm = self._maker(linear.x)
        gain = self._weights.vector(norm.weight) if isinstance(norm, ops.RMSNorm) else None
        weight = self._weights.rows(linear.weight)
        bias = None if linear.bias is None else self._weights.vector(linear.bias)
        return key_units(weight, bias, gain, rope, head_dim)

    def _maker(self, value: ops.Value) -> ops.Operation:
        return next(node.operation for node in self._nodes if node.value == value)

    def _residual_after(self, position: int, value: ops.Value) -> ops.Node | None:
        """The addition that follows at once, if it is the last to read both of its operands."""
        match self._nodes[position + 1 : position + 2]:
            case [ops.Node(ops.Add(x, y)) as node] if y == value:
                last = position + 1
                alone = self._last_reader[x.index] == self._last_reader[y.index] == last
                return node if alone else None
        return None

    def _gated_after(self, position: int, gate: ops.Value) -> tuple[ops.Node, ops.Node] | None:
        """What ``gate`` gates, and their product, if these follow and nothing else reads them."""
        match self._nodes[position : position + 3]:
            case [
                ops.Node(ops.Linear(x)),
                ops.Node(ops.Linear(same), up) as node,
                ops.Node(ops.SiluMul(first, second)) as product,
            ] if x == same and (first, second) == (gate, up):
                last = position + 2
                alone = self._last_reader[gate.index] == self._last_reader[up.index] == last
                return (node, product) if alone else None
        return None

    def _siblings(self, position: int, x: ops.Value) -> list[ops.Node]:
        """The products of the same input that come directly after."""
        found = []
        for node in self._nodes[position + 1 :]:
            if not (isinstance(node.operation, ops.Linear) and node.operation.x == x):
                break
            found.append(node)
        return found

    def _new(self, value: ops.Value) -> int:
        self._buffers[value.index] = self._plan.value(value.width)
        return self._buffers[value.index]

    def _take_over(self, position: int, old: ops.Value, new: ops.Value) -> int:
        """Let ``new``, made at ``position``, live in the buffer of ``old``, which ends there."""
        if self._last_reader[old.index] != position:
            raise AssertionError(f"value {old.index} is still needed and cannot change in place")
        self._buffers[new.index] = self._buffers[old.index]
        return self._buffers[new.index]


class Packer:
    """Weights in the kernels' layout, each read and packed once even where it is used twice."""

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        read: ReadWeight,
        pool: _core.ThreadPool,
        isa: str,
    ) -> None:
        self._shapes = shapes
        self._read = read
        self.pool = pool
        self.isa = isa
        self._packed: dict[tuple[str, str | None], _core.Linear] = {}
        self._roundings: dict[str, Rounding | None] = {}
        self._vectors: dict[str, FloatArray] = {}

    def exchanging(self, weights: Mapping[str, AnyTensor]) -> Packer:
        """The same weights but for some, which are packed anew; the others are shared."""
        other = Packer(self._shapes, weights.__getitem__, self.pool, self.isa)
        kept = {key: packed for key, packed in self._packed.items() if key[0] not in weights}
        other._packed, other._vectors = kept, self._vectors
        return other

    def matrix(self, weight: str, bias: str | None) -> _core.Linear:
        """A matrix with its bias, packed now or before."""
        if (weight, bias) not in self._packed:
            self._packed[weight, bias] = self._pack(weight, bias)
        return self._packed[weight, bias]

    def vector(self, name: str) -> FloatArray:
        """A vector as float32."""
        if name not in self._vectors:
            tensor = self._checked(name)
            if not isinstance(tensor, np.ndarray):
                raise InputError(f"tensor {name} is quantized, but a vector of floats is needed.")
            self._vectors[name] = np.ascontiguousarray(tensor, dtype=np.float32)
        return self._vectors[name]

    def rows(self, weight: str) -> FloatArray:
        """A weight that is packed already, in floats again."""
        [packed] = (linear for (name, _), linear in self._packed.items() if name == weight)
        return np.stack([packed.dequantize_row(row) for row in range(packed.rows)])

    def rounding(self, linear: ops.Linear) -> Rounding | None:
        """How the input of a packed weight is rounded before its product, if it is."""
        return self._roundings.get(linear.weight)

    def inputs(self, linear: ops.Linear) -> tuple[float, int, Rounding | None]:
        """How a product quantizes its input; those that do it alike share it."""
        matrix = self.matrix(linear.weight, linear.bias)
        return matrix.input_scale, matrix.input_group, self.rounding(linear)

    def _pack(self, weight: str, bias: str | None) -> _core.Linear:
        kernel = lower(self._checked(weight))
        self._roundings[weight] = kernel.rounding
        stored = kernel.weight
        try:
            return _core.Linear(
                self.pool,
                np.ascontiguousarray(stored) if isinstance(stored, np.ndarray) else stored,
                kernel.dtype,
                kernel.scales,
                None if bias is None else self.vector(bias),
                self.isa,
                kernel.zeros,
                kernel.shifts,
                kernel.input_scale,
                kernel.input_group,
            )
        except _core.ReadError as error:
            raise InputError(f"{error} (tensor {weight}).") from None

    def _checked(self, name: str) -> AnyTensor:
        tensor = self._read(name)
        if tensor.shape != self._shapes[name]:
            raise InputError(
                f"tensor {name} has shape {list(tensor.shape)}, but config.json asks for"
                f" {list(self._shapes[name])}."
            )
        if isinstance(tensor, np.ndarray) and tensor.dtype.name not in FLOAT_KERNELS:
            raise InputError(f"tensor {name} has type {tensor.dtype}; lichen computes with floats.")
        return tensor


def cast(tensor: FloatArray, dtype: str) -> FloatArray:
    """``tensor`` in a float type; "auto" leaves it as it is stored."""
    return tensor if dtype == "auto" else tensor.astype(FLOATS[dtype])
