"""A model whose values are rotated so that none stands out, and that computes the same.

Norms by the root mean square do not see a rotation of the residual stream, once their gains have
moved into the weights behind them; so the weights that read the stream are rotated along their
columns, those that write it along their rows.  Values of an attention head pass through weights
only, so each head's are rotated in what makes them and turned back in what reads them.  Nothing is
left to do while the model runs (QuaRot, arXiv 2404.00456, section 4; the rotations R1 and R2 of
SpinQuant, arXiv 2405.16406).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lichen import graph as ops
from lichen.checkpoint import Checkpoint
from lichen.checkpoint.view import View
from lichen.errors import InputError
from lichen.schemes import in_floats, to_float32
from lichen.solvers import native
from lichen.solvers.hadamard import rotate
from lichen.tensor import AnyTensor, FloatArray, Quantized


@dataclass
class Turn:
    """What happens to a weight: its columns times a norm's gain, then rotations in blocks.

    gain           the norm's weight, or None
    columns, rows  numbers that are rotated together, 0 for none
    """

    gain: str | None = None
    columns: int = 0
    rows: int = 0


class Rotated(View):
    """A model in floats, rotated; its output head must be a weight of its own."""

    def __init__(self, base: Checkpoint, graph: ops.Graph) -> None:
        """InputError where the architecture ``graph`` does not allow it."""
        super().__init__(base)
        self._turns = _turns(base.path, graph)
        self._gains = {turn.gain for turn in self._turns.values() if turn.gain is not None}

    def read(self, name: str) -> FloatArray | Quantized:
        """One tensor, float32 where it is rotated; InputError where it is then not finite."""
        if name in self._gains:
            return np.ones_like(in_floats(self._base.read(name)))
        if name not in self._turns:
            return self._base.read(name)
        turn, stored = self._turns[name], self._finite(name)
        x = stored.copy() if stored.dtype == np.float32 else to_float32(stored)
        if turn.gain is not None:
            x *= to_float32(self._finite(turn.gain))
        matrix = x.reshape(len(x), -1)  # a bias is one column
        if turn.columns:
            rotate(matrix, 1, turn.columns)
        if turn.rows:
            rotate(matrix, 0, turn.rows)
        return x

    def read_exact(self, name: str) -> AnyTensor:
        """One tensor; none has codes of its own."""
        return self.read(name)

    def _finite(self, name: str) -> FloatArray:
        """A tensor of the base in floats, or an error under the name that it has there."""
        stored = in_floats(self._base.read(name))
        if not native.all_finite(stored):
            raise InputError(f"{self.path}: {name} has values that are not finite.")
        return stored


def _turns(model: Path, graph: ops.Graph) -> dict[str, Turn]:
    """What happens to each weight of a graph, or InputError."""
    turns: defaultdict[str, Turn] = defaultdict(Turn)
    stream: set[ops.Value] = set()

    def made_by(value: ops.Value, size: int) -> None:
        """Turn what makes a value, in blocks of ``size``."""
        maker = graph.nodes[value.index].operation
        if not isinstance(maker, ops.Linear):
            raise _unfit(model, maker)
        turns[maker.weight].rows = size
        if maker.bias is not None:
            turns[maker.bias].rows = size

    def read_by(value: ops.Value, size: int, gain: str | None = None) -> None:
        """Turn what reads a value."""
        for node in graph.nodes:
            if value in ops.inputs(node.operation):
                if not isinstance(node.operation, ops.Linear):
                    raise _unfit(model, node.operation)
                turn = turns[node.operation.weight]
                turn.columns, turn.gain = size, gain

    for node in graph.nodes:
        match node.operation:
            case ops.Embedding(weight, _, width):
                turns[weight].columns = width
                stream.add(node.value)
            case ops.Add(x, y) if x in stream:
                made_by(y, x.width)
                stream.add(node.value)
            case ops.SelectRows(x) if x in stream:
                stream.add(node.value)
            case ops.RMSNorm(x, gain, _) if x in stream:
                read_by(node.value, x.width, gain)
            case ops.Attention(_, _, v, head_dim=size):
                made_by(v, size)
                read_by(node.value, size)
            case operation if stream.intersection(ops.inputs(operation)):
                raise _unfit(model, operation)
    return dict(turns)


def _unfit(model: Path, operation: ops.Operation) -> InputError:
    return InputError(
        f"{model}: cannot be rotated, for this architecture has a {type(operation).__name__} where"
        " a rotation does not pass; choose a recipe without rotate."
    )
