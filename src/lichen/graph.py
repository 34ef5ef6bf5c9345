"""The small language that architectures are written in.

A graph is a list of nodes in the order they run.  Each node makes one value: a float32 array
[tokens, width], one row for every token of the step.  Weights are named, never held: the same graph
serves the full-precision and the quantized model, the NumPy reference and the native engine.

An operation is a small frozen dataclass.  To add one: declare it here, run it in
`lichen.reference`, lower it in `lichen.engine.compile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Value:
    """The output of one node: ``width`` floats for each token of the step."""

    index: int
    width: int


@dataclass(frozen=True)
class Embedding:
    """Row ``token id`` of the table ``weight`` [vocabulary, width]."""

    weight: str
    rows: int
    width: int


@dataclass(frozen=True)
class RMSNorm:
    """``x / sqrt(mean(x^2) + eps) * weight`` (arXiv 1910.07467)."""

    x: Value
    weight: str
    eps: float


@dataclass(frozen=True)
class Linear:
    """``x @ weight.T + bias``; ``weight`` [width, x.width] may be quantized."""

    x: Value
    weight: str
    bias: str | None
    width: int


@dataclass(frozen=True)
class Rope:
    """Rotary positions (arXiv 2104.09864) on the first ``2 * len(inv_freq)`` columns of each head.

    ``interleaved`` pairs columns (2i, 2i+1) as GPT-J does; otherwise (i, i + half) as llama does.
    """

    x: Value
    heads: int
    inv_freq: tuple[float, ...]
    scale: float = 1.0
    interleaved: bool = False


@dataclass(frozen=True)
class Attention:
    """Causal attention over everything that this sequence has cached in ``layer``.

    ``heads`` query heads share ``kv_heads`` key and value heads in order (arXiv 2305.13245).
    """

    q: Value
    k: Value
    v: Value
    layer: int
    heads: int
    kv_heads: int
    head_dim: int
    scale: float


@dataclass(frozen=True)
class SiluMul:
    """``silu(gate) * up``: the gate of SwiGLU (arXiv 2002.05202)."""

    gate: Value
    up: Value


@dataclass(frozen=True)
class Add:
    """``x + y``: the residual connection."""

    x: Value
    y: Value


@dataclass(frozen=True)
class SelectRows:
    """Only the tokens whose logits are asked for; all that follows runs on them alone."""

    x: Value


Operation = Embedding | RMSNorm | Linear | Rope | Attention | SiluMul | Add | SelectRows


@dataclass(frozen=True)
class Node:
    """An operation and the value that it makes."""

    operation: Operation
    value: Value


@dataclass(frozen=True)
class CacheShape:
    """What attention keeps for every token: keys and values [layers, kv_heads, head_dim]."""

    layers: int
    kv_heads: int
    head_dim: int


@dataclass
class Graph:
    """Nodes in running order; the last value is the output: logits of the selected tokens."""

    cache: CacheShape
    vocabulary: int
    context: int
    nodes: list[Node] = field(default_factory=list)

    @property
    def output(self) -> Value:
        """The value of the last node."""
        return self.nodes[-1].value

    def weights(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Every weight that the graph reads, once, with the shape that it must have."""
        seen: set[str] = set()
        for node in self.nodes:
            for name, shape in weights_of(node):
                if name not in seen:
                    seen.add(name)
                    yield name, shape

    def embedding(self, weight: str, rows: int, width: int) -> Value:
        """Look the step's token ids up."""
        return self._add(Embedding(weight, rows, width), width)

    def rms_norm(self, x: Value, weight: str, eps: float) -> Value:
        """Normalize each row by its root mean square."""
        return self._add(RMSNorm(x, weight, eps), x.width)

    def linear(self, x: Value, weight: str, width: int, bias: str | None = None) -> Value:
        """Multiply by a weight matrix [width, x.width]."""
        return self._add(Linear(x, weight, bias, width), width)

    def rope(self, x: Value, heads: int, inv_freq: npt.NDArray[np.float32], scale: float) -> Value:
        """Rotate queries or keys by their position, in llama's half-split pairing."""
        return self._add(Rope(x, heads, tuple(map(float, inv_freq)), scale), x.width)

    def attention(
        self, q: Value, k: Value, v: Value, *, layer: int, heads: int, scale: float
    ) -> Value:
        """Attend to this and all earlier tokens of the same sequence."""
        shape = self.cache
        operation = Attention(q, k, v, layer, heads, shape.kv_heads, shape.head_dim, scale)
        return self._add(operation, q.width)

    def silu_mul(self, gate: Value, up: Value) -> Value:
        """Gate ``up`` by the SiLU of ``gate``."""
        return self._add(SiluMul(gate, up), up.width)

    def add(self, x: Value, y: Value) -> Value:
        """Add two values."""
        return self._add(Add(x, y), x.width)

    def select_rows(self, x: Value) -> Value:
        """Go on with the rows whose logits are wanted."""
        return self._add(SelectRows(x), x.width)

    def _add(self, operation: Operation, width: int) -> Value:
        value = Value(len(self.nodes), width)
        self.nodes.append(Node(operation, value))
        return value


def inputs(operation: Operation) -> tuple[Value, ...]:
    """The values that an operation reads."""
    return tuple(item for item in vars(operation).values() if isinstance(item, Value))


def weights_of(node: Node) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The weights that a node reads, with the shapes that they must have."""
    match node.operation:
        case Embedding(weight, rows, width):
            yield weight, (rows, width)
        case RMSNorm(x, weight, _):
            yield weight, (x.width,)
        case Linear(x, weight, bias, width):
            yield weight, (width, x.width)
            if bias is not None:
                yield bias, (width,)
        case _:
            pass
