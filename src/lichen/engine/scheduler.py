"""Continuous batching: many sequences share every step, joining and leaving as they come.

A step carries one token of every sequence that is generating, and fills up with pieces of
prompts.  Each sequence reserves the pages it can need when it is admitted, so a step never runs
out of memory; what does not fit waits its turn, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.engine.cache import PagePool, PageTable
from lichen.engine.compile import ReadWeight, compile_graph
from lichen.engine.sampling import Sampler
from lichen.errors import InputError
from lichen.graph import Graph

PAGE_TOKENS = 32
STEP_TOKENS = 512
LOGIT_TOKENS = 128  # a piece of logits of a 150,000-token vocabulary is then 77 MB
MAX_SEQUENCES = 64
CACHE_BYTES = 1 << 30


@dataclass
class Generation:
    """One sequence: its prompt, its way to sample, and who decides when it has said enough.

    ``accept`` is called with every new token and answers whether to go on.
    """

    prompt: list[int]
    max_tokens: int
    accept: Callable[[int], bool]
    sampler: Sampler = field(default_factory=lambda: Sampler(0.0, 1.0, 0))


@dataclass
class _Running:
    key: int
    generation: Generation
    table: PageTable
    tokens: list[int]
    computed: int

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def produced(self) -> int:
        return len(self.tokens) - len(self.generation.prompt)


class Engine:
    """A compiled model and its cache; `run` drives any number of generations through it."""

    def __init__(
        self,
        graph: Graph,
        read: ReadWeight,
        *,
        isa: str,
        threads: int,
        cache_bytes: int = CACHE_BYTES,
        max_sequences: int = MAX_SEQUENCES,
    ) -> None:
        self.graph = graph
        self._max_sequences = max_sequences
        self._busy = False
        self._pool = _core.ThreadPool(threads)
        self._plan = compile_graph(graph, read, self._pool, isa, STEP_TOKENS)
        shape = graph.cache
        pages = cache_pages(graph, cache_bytes)
        self.token_capacity = token_capacity(graph, cache_bytes)
        self._pages = PagePool(pages, PAGE_TOKENS)
        self._cache = _core.Cache(shape.layers, shape.kv_heads, shape.head_dim, PAGE_TOKENS, pages)

    @property
    def plan(self) -> _core.Plan:
        """What runs a step: its products, and the time that its operations took."""
        return self._plan

    @property
    def cache(self) -> _core.Cache:
        """Where keys and values are kept."""
        return self._cache

    def run(self, generations: Iterable[Generation]) -> Iterator[int]:
        """Run all of them; yields the number of each as it ends, the soonest done first."""
        for ended in self._steps(generations):
            yield from ended

    def steps(self, generation: Generation) -> Iterator[None]:
        """Run one generation; yields after every step, for those who watch it grow."""
        for _ in self._steps([generation]):
            yield

    def _steps(self, generations: Iterable[Generation]) -> Iterator[list[int]]:
        """The numbers of the generations that each step ended."""
        if self._busy:
            raise RuntimeError("this engine is already running; finish or close that run first")
        waiting = deque(enumerate(generations))
        running: list[_Running] = []
        self._busy = True
        try:
            while waiting or running:
                self._admit(waiting, running)
                ended = self._step(running)
                for sequence in ended:
                    running.remove(sequence)
                    self._pages.close(sequence.table)
                yield [sequence.key for sequence in ended]
        finally:
            self._busy = False
            for sequence in running:
                self._pages.close(sequence.table)
            if running:  # cut short: some pages are known that were never computed
                self._pages.forget()

    def logits(self, ids: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.float32]]:
        """Logits [piece, vocabulary] after each token of one sequence, piece by piece."""
        table = self._pages.open([], len(ids))  # no prompt: nothing is shared, all is computed
        if table is None:
            raise InputError(self._too_long(len(ids)))
        pages = np.array([table.pages], np.int32)
        try:
            for begin in range(0, len(ids), LOGIT_TOKENS):
                piece = np.ascontiguousarray(ids[begin : begin + LOGIT_TOKENS], np.int32)
                count = len(piece)
                positions = np.arange(begin, begin + count, dtype=np.int32)
                starts = np.array([0, count], np.int32)
                rows = np.arange(count, dtype=np.int32)
                yield self._plan.step(self._cache, piece, positions, starts, pages, rows)
        finally:
            self._pages.close(table)

    def _admit(self, waiting: deque[tuple[int, Generation]], running: list[_Running]) -> None:
        while waiting and len(running) < self._max_sequences:
            key, generation = waiting[0]
            capacity = len(generation.prompt) + generation.max_tokens
            table = self._pages.open(generation.prompt, capacity)
            if table is None:
                if not running:
                    raise InputError(self._too_long(capacity))
                return
            waiting.popleft()
            sequence = _Running(
                key, generation, table, list(generation.prompt), table.shared_tokens
            )
            running.append(sequence)
            # Known from now on: whoever is admitted after it computes in the same step or later,
            # and a step writes the keys of a layer before anyone reads them.
            self._pages.publish(table, sequence.tokens, len(sequence.tokens))

    def _too_long(self, tokens: int) -> str:
        return (
            f"a sequence of {tokens} tokens does not fit the key-value cache, which holds"
            f" {self._pages.total * PAGE_TOKENS}; shorten it or give the cache more memory."
        )

    def _step(self, running: list[_Running]) -> list[_Running]:
        """One pass over the model; the sequences that ended with it."""
        work = _share_out(running)
        if not work:
            return []
        logits = iter(self._run_plan(work))
        ended = []
        for sequence, count in work:
            sequence.computed += count
            if sequence.pending == 0 and not self._extend(sequence, next(logits)):
                ended.append(sequence)
        return ended

    def _extend(self, sequence: _Running, logits: npt.NDArray[np.float32]) -> bool:
        generation = sequence.generation
        token = generation.sampler.pick(logits)
        sequence.tokens.append(token)
        return generation.accept(token) and sequence.produced < generation.max_tokens

    def _run_plan(self, work: list[tuple[_Running, int]]) -> npt.NDArray[np.float32]:
        counts = np.array([count for _, count in work], np.int32)
        starts = np.zeros(len(work) + 1, np.int32)
        np.cumsum(counts, out=starts[1:])
        ids = [t for s, count in work for t in s.tokens[s.computed : s.computed + count]]
        positions = np.concatenate(
            [np.arange(s.computed, s.computed + count, dtype=np.int32) for s, count in work]
        )
        pages = np.zeros((len(work), max(len(s.table.pages) for s, _ in work)), np.int32)
        for row, (sequence, _) in enumerate(work):
            pages[row, : len(sequence.table.pages)] = sequence.table.pages
        last = [end - 1 for (s, n), end in zip(work, starts[1:], strict=True) if s.pending == n]
        return self._plan.step(
            self._cache, np.array(ids, np.int32), positions, starts, pages, np.array(last, np.int32)
        )


def cache_pages(graph: Graph, cache_bytes: int) -> int:
    """How many pages of keys and values, in float32, fit into so many bytes; at least one."""
    shape = graph.cache
    page_bytes = 2 * 4 * shape.layers * shape.kv_heads * shape.head_dim * PAGE_TOKENS
    return max(1, cache_bytes // page_bytes)


def token_capacity(graph: Graph, cache_bytes: int = CACHE_BYTES) -> int:
    """The longest sequence, prompt and answer, that context and cache have room for."""
    return min(graph.context, cache_pages(graph, cache_bytes) * PAGE_TOKENS)


def _share_out(running: list[_Running]) -> list[tuple[_Running, int]]:
    """How many tokens each sequence gets in this step: those that generate first, then prompts.

    The order of `running` is the order of admission.  Prompts are served strictly in that order,
    so that a shared page is always written no later than it is read.
    """
    budget = STEP_TOKENS - sum(1 for sequence in running if sequence.produced)
    work = []
    for sequence in running:
        count = sequence.pending if sequence.produced else min(sequence.pending, budget)
        if count > 0:
            work.append((sequence, count))
            budget -= 0 if sequence.produced else count
    return work
