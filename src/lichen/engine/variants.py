"""One model in memory, of which single weights can be exchanged for a run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.engine.compile import Packer, ReadWeight, compile_packed
from lichen.engine.scheduler import PAGE_TOKENS, STEP_TOKENS
from lichen.graph import Graph
from lichen.tensor import AnyTensor

Float32 = npt.NDArray[np.float32]


class Variants:
    """A model whose weights, packed once, serve every variant that does not exchange them."""

    def __init__(self, graph: Graph, read: ReadWeight, *, isa: str, threads: int) -> None:
        self._graph = graph
        self._pool = _core.ThreadPool(threads)
        self._isa = isa
        self._packer = Packer(dict(graph.weights()), read, self._pool, isa)
        compile_packed(graph, self._packer, _core.Plan(self._pool, isa, STEP_TOKENS))
        shape, pages = graph.cache, STEP_TOKENS // PAGE_TOKENS
        self._cache = _core.Cache(
            shape.layers, shape.kv_heads, shape.head_dim, PAGE_TOKENS, pages, "float32"
        )

    def logits(self, ids: npt.NDArray[np.int32], exchanged: Mapping[str, AnyTensor]) -> Float32:
        """Logits [tokens, vocabulary] after each of at most 512 tokens, with other weights."""
        packer = self._packer.exchanging(exchanged)
        plan = compile_packed(self._graph, packer, _core.Plan(self._pool, self._isa, STEP_TOKENS))
        count = len(ids)
        positions = np.arange(count, dtype=np.int32)
        pages = np.arange(STEP_TOKENS // PAGE_TOKENS, dtype=np.int32)[None, :]
        starts = np.array([0, count], np.int32)
        result: Float32 = plan.step(self._cache, ids, positions, starts, pages, positions)
        return result
