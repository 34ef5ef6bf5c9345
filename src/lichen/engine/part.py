"""Consecutive nodes of a graph, compiled and run by themselves on whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen import graph as ops
from lichen.engine.compile import Packer, compile_part
from lichen.engine.scheduler import PAGE_TOKENS, STEP_TOKENS

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


class Part:
    """Nodes that select no rows, as a plan with keys and values of its own, in float32.

    The numbers are those that the engine computes with such a cache, bit for bit, with any number
    of threads.
    """

    def __init__(
        self,
        nodes: Sequence[ops.Node],
        inputs: Sequence[ops.Value],
        taps: Sequence[ops.Value],
        packer: Packer,
        shape: ops.CacheShape,
        pages: int,
    ) -> None:
        """From ``inputs`` to ``taps``; ``pages`` of the cache, as `steps` asks for them."""
        nodes, layers = _with_own_cache(nodes)
        self._plan = compile_part(nodes, inputs, taps, packer, STEP_TOKENS)
        self._cache = _core.Cache(
            max(1, layers), shape.kv_heads, shape.head_dim, PAGE_TOKENS, pages, "float32"
        )

    def run(self, step: Step, inputs: Sequence[Float32], taps: Sequence[Float32]) -> None:
        """Rows [tokens, width] of every value; a tap may have the memory of an input."""
        self._plan.relay(
            self._cache, step.ids, step.positions, step.starts, step.pages, inputs, taps
        )


@dataclass(frozen=True)
class Step:
    """Tokens that run together: the rows of all values that are theirs, and what a plan needs."""

    rows: slice
    ids: Ints
    positions: Ints
    starts: Ints
    pages: Ints


def steps(sequences: Sequence[Ints]) -> tuple[list[Step], int]:
    """All tokens in order, cut into steps, and the pages that they need.

    Pages are given out in a ring.  It holds those of all sequences of any one step, so that one
    that goes on from step to step keeps its own until it ends.
    """
    ids = np.concatenate(sequences).astype(np.int32)
    lengths = np.array([len(sequence) for sequence in sequences])
    ends = np.cumsum(lengths)
    pages = -(-lengths // PAGE_TOKENS)
    begins = range(0, len(ids), STEP_TOKENS)
    spans = [(begin, min(begin + STEP_TOKENS, len(ids))) for begin in begins]
    parts = [_overlapping(ends, begin, end) for begin, end in spans]
    ring = max(int(pages[part].sum()) for part in parts)
    first_page = np.cumsum(pages) - pages
    found = []
    for (begin, end), part in zip(spans, parts, strict=True):
        origins = (ends - lengths)[part]
        starts = np.append(np.maximum(origins, begin), end) - begin
        positions = np.arange(begin, end) - np.repeat(origins, np.diff(starts))
        table = (first_page[part, None] + np.arange(pages[part].max())) % ring
        rows = slice(begin, end)
        found.append(Step(rows, ids[rows], _ints(positions), _ints(starts), _ints(table)))
    return found, ring


def every_row(nodes: Sequence[ops.Node]) -> list[ops.Node]:
    """The nodes as they run when every token is selected: without a selection."""
    same: dict[ops.Value, ops.Value] = {}
    kept = []
    for node in nodes:
        fields = vars(node.operation).items()
        values: dict[str, Any] = {name: same[value] for name, value in fields if value in same}
        operation = replace(node.operation, **values)
        if isinstance(operation, ops.SelectRows):
            same[node.value] = operation.x
        else:
            kept.append(ops.Node(operation, node.value))
    return kept


def read_by(nodes: Sequence[ops.Node]) -> dict[ops.Value, None]:
    """The values that some nodes read, each once, in order."""
    return dict.fromkeys(value for node in nodes for value in ops.inputs(node.operation))


def _with_own_cache(section: Sequence[ops.Node]) -> tuple[list[ops.Node], int]:
    """The nodes with their attention layers counted from 0, and how many there are."""
    layers = [n.operation.layer for n in section if isinstance(n.operation, ops.Attention)]

    def renumbered(node: ops.Node) -> ops.Node:
        if not isinstance(node.operation, ops.Attention):
            return node
        layer = layers.index(node.operation.layer)
        return ops.Node(replace(node.operation, layer=layer), node.value)

    return [renumbered(node) for node in section], len(layers)


def _overlapping(ends: npt.NDArray[np.int_], begin: int, end: int) -> slice:
    """The sequences that have tokens from ``begin`` to ``end``; ``ends`` are theirs."""
    first, last = np.searchsorted(ends, [begin, end - 1], "right")
    return slice(int(first), int(last) + 1)


def _ints(array: npt.NDArray[np.int_]) -> Ints:
    return array.astype(np.int32)
