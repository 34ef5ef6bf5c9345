"""Continuous batching: many sequences share every step, joining and leaving as they come.

A step carries a token of every sequence that is generating, or a few where guesses are tried, and
fills up with pieces of prompts.  Each sequence reserves the pages it can need when it is admitted,
so a step never runs out of memory; what does not fit waits its turn, in order.  What waits is not
even looked at before there is room for it, so a queue may be of any length.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterable, Iterator
from collections.abc import Sequence as Sequences

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.engine import batch
from lichen.engine.cache import PagePool
from lichen.engine.compile import ReadWeight, compile_graph
from lichen.engine.cursor import Cursor
from lichen.engine.draft import Drafter, StepCost, lengths
from lichen.engine.generation import Generation, Sequence
from lichen.engine.waiting import Waiting
from lichen.errors import InputError, ResourceError
from lichen.graph import Graph

PAGE_TOKENS = 32
STEP_TOKENS = 512
PROMPT_TOKENS = 256  # of a step in which others generate
LOGIT_TOKENS = 128  # a piece of logits of a 150,000-token vocabulary is then 77 MB
MAX_SEQUENCES = 64
CACHE_BYTES = 1 << 30

#: What keys and values are stored as; int8 with a scale for each head and position.
KV_TYPES = ("float32", "float16", "int8")
#: What they are unless something else is asked for: half of the memory, and of what is read, and
#: KL divergence from float32 of 2e-6.
KV_TYPE = "float16"


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
        kv_cache: str = KV_TYPE,
        max_sequences: int = MAX_SEQUENCES,
        drafter: Drafter | None = None,
    ) -> None:
        if not 1 <= max_sequences <= STEP_TOKENS:
            raise InputError(f"a batch is of 1 to {STEP_TOKENS} sequences, not {max_sequences}.")
        self.graph = graph
        self._max_sequences = max_sequences
        self._drafter = drafter
        self._cost = StepCost()
        self._busy = threading.Lock()
        self._pool = _core.ThreadPool(threads)
        self._plan = compile_graph(graph, read, self._pool, isa, STEP_TOKENS, kv_cache)
        shape = graph.cache
        pages = cache_pages(graph, cache_bytes, kv_cache)
        self.token_capacity = token_capacity(graph, cache_bytes, kv_cache)
        self._pages = PagePool(pages, PAGE_TOKENS)
        self._cache = _core.Cache(
            shape.layers, shape.kv_heads, shape.head_dim, PAGE_TOKENS, pages, kv_cache
        )

    @property
    def plan(self) -> _core.Plan:
        """What runs a step: its products, and the time that its operations took."""
        return self._plan

    @property
    def cache(self) -> _core.Cache:
        """Where keys and values are kept."""
        return self._cache

    def run(
        self, generations: Iterable[Generation], cancelled: Container[int] = ()
    ) -> Iterator[int]:
        """Run all of them; yields the number of each as it ends, the soonest done first.

        They are taken as there is room.  Those whose numbers are in ``cancelled``, to which other
        threads may add, end before the next step.
        """
        for ended in self._steps(generations, cancelled):
            yield from ended

    def steps(self, generation: Generation) -> Iterator[None]:
        """Run one generation; yields after every step, for those who watch it grow."""
        for _ in self._steps([generation], ()):
            yield

    def _steps(
        self, generations: Iterable[Generation], cancelled: Container[int]
    ) -> Iterator[list[int]]:
        """The numbers of the generations that ended with each step."""
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("this engine is already running; finish or close that run first")
        waiting = Waiting(generations)
        running: list[Sequence] = []
        try:
            while True:
                ended = self._withdraw(running, waiting, cancelled)
                ended += self._admit(running, waiting, cancelled)
                if not running and not ended:
                    return
                ended += self._step(running)
                yield ended
        finally:
            self._close(list(running), running)
            self._busy.release()

    def logits(self, ids: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.float32]]:
        """Logits [piece, vocabulary] after each token of one sequence, piece by piece.

        Raises InputError for one that is too long, ResourceError while others hold the cache.
        """
        self._check_ids(ids)
        ids = np.ascontiguousarray(ids, np.int32)
        if len(ids) > self.token_capacity:
            raise InputError(
                f"a text of {len(ids)} tokens is too long: context and key-value cache have room"
                f" for {self.token_capacity}; shorten it or give the cache more memory."
            )
        cursor = self.cursor(len(ids))
        if cursor is None:
            raise ResourceError(
                "the key-value cache is taken by answers that are being written, or by another"
                " text that is being scored; end those first, or give it more memory."
            )
        try:
            for begin in range(0, len(ids), LOGIT_TOKENS):
                yield cursor.feed(begin, ids[begin : begin + LOGIT_TOKENS])
        finally:
            cursor.close()

    def cursor(self, capacity: int) -> Cursor | None:
        """A sequence of up to ``capacity`` tokens to feed by hand; None while memory is short."""
        table = self._pages.open([], capacity)  # no prompt: nothing is shared, all is computed
        return None if table is None else Cursor(self._plan, self._cache, self._pages, table)

    def _withdraw(
        self, running: list[Sequence], waiting: Waiting, cancelled: Container[int]
    ) -> list[int]:
        """End what was cancelled; its numbers.

        Whoever has computed nothing yet may count on pages that one of them was to write; it goes
        back to the head of the queue and is admitted anew.
        """
        ended = [s for s in running if s.key in cancelled]
        if not ended:
            return []
        anew = [s for s in running if not (s.begun or s in ended)]
        self._close(ended + anew, running)
        waiting.put_back([(s.key, s.generation) for s in anew])
        return [s.key for s in ended]

    def _admit(
        self, running: list[Sequence], waiting: Waiting, cancelled: Container[int]
    ) -> list[int]:
        """Let begin, in order, what there is room for; the numbers of those cancelled before."""
        ended = []
        while len(running) < self._max_sequences and (first := waiting.first()):
            key, generation = first
            if key in cancelled:
                ended.append(key)
            elif sequence := self._begin(key, generation):
                running.append(sequence)
            elif running:
                break
            else:
                raise ResourceError(
                    "the key-value cache is taken by a text that is being scored; end that first."
                )
            waiting.take()
        return ended

    def _begin(self, key: int, generation: Generation) -> Sequence | None:
        """The generation with its pages; None while memory is short."""
        self._check(generation)
        prompt = generation.prompt
        capacity = len(prompt) + generation.max_tokens
        table = self._pages.open(prompt, capacity)
        if table is None:
            return None
        # Known from now on: whoever is admitted after it computes in the same step or later, and
        # a step writes the keys of a layer before anyone reads them.
        self._pages.publish(table, prompt, len(prompt))
        drafts = self._drafter.open(prompt, capacity) if self._drafter else None
        return Sequence.of(key, generation, table, drafts)

    def _check(self, generation: Generation) -> None:
        tokens = len(generation.prompt) + generation.max_tokens
        if not generation.prompt:
            raise InputError("the prompt is empty; it needs one token at least.")
        if generation.max_tokens < 1:
            raise InputError(f"max_tokens is {generation.max_tokens}, must be at least 1.")
        if tokens > self.token_capacity:
            raise InputError(
                f"a sequence of {tokens} tokens is too long: context and key-value cache have room"
                f" for {self.token_capacity}; shorten it or give the cache more memory."
            )
        self._check_ids(generation.prompt)

    def _check_ids(self, ids: Sequences[int] | npt.NDArray[np.int32]) -> None:
        if len(ids) and not 0 <= min(ids) <= max(ids) < self.graph.vocabulary:
            wrong = next(i for i in ids if not 0 <= i < self.graph.vocabulary)
            raise InputError(
                f"token id {wrong} does not exist; this model has 0 to {self.graph.vocabulary - 1}."
            )

    def _step(self, running: list[Sequence]) -> list[int]:
        """One pass over the model; the numbers of the sequences that ended with it."""
        if not running:
            return []
        self._speculate(running)
        parts = batch.share_out(running, STEP_TOKENS, PROMPT_TOKENS)
        begin = time.perf_counter()
        logits = self._plan.step(self._cache, *batch.arrays(parts))
        if all(part.sequence.generating for part in parts):
            self._cost.learn(len(logits), time.perf_counter() - begin)
        ended = self._extend(parts, logits)
        self._close(ended, running)
        return [sequence.key for sequence in ended]

    def _speculate(self, running: list[Sequence]) -> None:
        """Choose the guesses of a step; none beside prompts, which fill a step up anyway."""
        for sequence in running:
            sequence.draft = []
        if self._drafter is None or not all(s.generating for s in running):
            return
        odds = [s.drafts.odds(s.tokens)[: s.left - 1] if s.drafts else () for s in running]
        room = STEP_TOKENS - len(running)
        counts = lengths(odds, self._cost, self._drafter.seconds, room)
        for sequence, count in zip(running, counts, strict=True):
            if sequence.drafts and count:
                sequence.draft = sequence.drafts.guess(count)

    def _extend(self, parts: list[batch.Part], logits: npt.NDArray[np.float32]) -> list[Sequence]:
        """Count the step in; the sequences that are complete."""
        ended, row = [], 0
        for part in parts:
            sequence, first = part.sequence, row
            if not part.ends:
                sequence.computed += part.count
                continue
            row += 1 + len(sequence.draft)
            if not sequence.take(logits[first:row]):
                ended.append(sequence)
        return ended

    def _close(self, sequences: list[Sequence], running: list[Sequence]) -> None:
        """Give back what they hold; what was computed stays known for who begins alike."""
        for sequence in sequences:
            running.remove(sequence)
            if sequence.generating:
                self._pages.publish(sequence.table, sequence.tokens, sequence.computed)
            self._pages.close(sequence.table, sequence.computed)
            if sequence.drafts:
                sequence.drafts.close()


def cache_pages(graph: Graph, cache_bytes: int, kv_cache: str) -> int:
    """How many pages fit into so many bytes, keys and values stored as `kv_cache`; one at least."""
    shape = graph.cache
    page_bytes = _core.Cache.page_bytes(
        shape.layers, shape.kv_heads, shape.head_dim, PAGE_TOKENS, kv_cache
    )
    return max(1, cache_bytes // page_bytes)


def token_capacity(graph: Graph, cache_bytes: int = CACHE_BYTES, kv_cache: str = KV_TYPE) -> int:
    """The longest sequence, prompt and answer, that context and cache have room for."""
    return min(graph.context, cache_pages(graph, cache_bytes, kv_cache) * PAGE_TOKENS)
