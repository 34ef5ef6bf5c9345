"""Times a loaded engine, token by token; run as the child of `lichen.measure.bench`.

Prompts are random token ids, so lengths are exact, nothing is shared by accident, and no
repetition helps.  Greedy, through the same scheduler that answers prompts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from lichen.engine import Engine, Generation
from lichen.engine.machine import choose_isa
from lichen.engine.scheduler import CACHE_BYTES, MAX_SEQUENCES
from lichen.loading import load
from lichen.measure import child
from lichen.measure.bench import BATCH_PROMPT, Job, Rate, Speeds, Workload
from lichen.measure.timing import peak_memory_bytes

#: A rate is taken again only while this many seconds have not passed: large models are slow.
_BUDGET_SECONDS = 3.0
#: Kernels of blocks of codes, which meet inputs of 16 bits; with those of int8 inputs, all that
#: multiply integers.
_BLOCKS = ("b8", "b6", "b4")
_INTEGER = ("i8", "i4", *_BLOCKS)
#: Instruction sets that multiply bytes: 16 bits are two digits there, and one number elsewhere
#: (``native/kernels/linear/widen.inc.h``).
_MULTIPLY_BYTES = ("avx_vnni", "avx512_vnni", "avx512_bf16", "amx")
_CROWDED = "they never ran all at once: the engine or its cache has no room"

#: dtype, rows, cols and bytes of a weight, and whether every token meets it.
Product = tuple[str, int, int, int, bool]


def _work(job: Job, update: child.Update) -> Speeds:
    begin = time.perf_counter()
    model = load(
        Path(job.model),
        threads=job.threads,
        isa=job.isa,
        kv_cache=job.kv_cache,
        cache_bytes=CACHE_BYTES if job.cache_bytes is None else job.cache_bytes,
        speculate=False,
    )
    load_s = time.perf_counter() - begin
    bench = Bench(model.engine, job.workload, update, choose_isa(job.isa))
    return bench.run(model.scheme, load_s)


class Bench:
    """Runs a workload on one engine, which was made for instruction set ``isa``."""

    def __init__(self, engine: Engine, workload: Workload, update: child.Update, isa: str) -> None:
        self._engine = engine
        self._isa = isa
        self._load = workload
        self._random = np.random.default_rng(0)
        self._done = 0
        self._update = update

    def run(self, scheme: str, load_s: float) -> Speeds:
        """Everything; ``load_s`` is how long it took to get here."""
        load = self._load
        self._prefill(1)  # first use touches weights and wakes threads
        found = {
            "prefill": self._table(load.prompts, self._prefill),
            "decode": self._table(load.contexts, self._decode),
            "batch": self._table(load.batches, self._batch),
        }
        products = self._engine.plan.products
        cache = self._engine.cache
        return Speeds(
            scheme=scheme,
            load_s=load_s,
            **found,
            weight_bytes=sum(nbytes for _, _, _, nbytes, _ in products),
            cache_bytes=cache.nbytes / (cache.pages * cache.page_tokens),
            cache_budget_bytes=cache.nbytes,
            token_operations=self._operations(p for p in products if p[-1]),
            row_operations=self._operations(p for p in products if not p[-1]),
            integer=_mostly_integer(products),
            profile=self._profile() if load.profile else None,
            peak_rss_bytes=peak_memory_bytes(),
        )

    def _operations(self, products: Iterable[Product]) -> int:
        """Of one token; a multiply and an add are two."""
        return sum(
            2 * multiply_adds(dtype, self._isa) * rows * cols for dtype, rows, cols, *_ in products
        )

    def _table(self, sizes: Sequence[int], rate: Callable[[int], float]) -> dict[int, Rate]:
        """The rate at each size, or why it could not be taken."""
        table = {}
        for size in sizes:
            try:
                table[size] = self._repeated(partial(rate, size))
            except MemoryError:
                table[size] = Rate(reason="there is not enough memory")
            except _ImpossibleError as why:
                table[size] = Rate(reason=str(why))
            self._done += 1
            load = self._load
            self._update(self._done, len(load.prompts) + len(load.contexts) + len(load.batches))
        return table

    def _repeated(self, rate: Callable[[], float]) -> Rate:
        start, rates = time.perf_counter(), [rate()]
        while len(rates) < self._load.repeats and time.perf_counter() - start < _BUDGET_SECONDS:
            rates.append(rate())
        return Rate(median(rates), min(rates), max(rates), len(rates))

    def _prefill(self, tokens: int) -> float:
        """Tokens of one new prompt a second, until the first token of the answer is known."""
        self._require(tokens + 1)
        begin, [times] = self._answer([self._ids(tokens)], 1)
        return tokens / (times[0] - begin)

    def _decode(self, context: int) -> float:
        """Tokens a second of one answer behind a context, from its first token to its last."""
        length = max(1, context)
        self._require(length + 1 + self._load.tokens)
        prompt = self._ids(length, seed=1)  # the same each time: it is computed once
        _, [times] = self._answer([prompt], 1 + self._load.tokens)
        return self._load.tokens / (times[-1] - times[0])

    def _batch(self, count: int) -> float:
        """Tokens a second of all answers, while all of them are being written."""
        self._require(BATCH_PROMPT + 1 + self._load.tokens)
        if count > MAX_SEQUENCES:
            raise _ImpossibleError(_CROWDED)
        prompts = [self._ids(BATCH_PROMPT) for _ in range(count)]
        _, answers = self._answer(prompts, 1 + self._load.tokens)
        begin, end = max(t[0] for t in answers), min(t[-1] for t in answers)
        if end <= begin:
            raise _ImpossibleError(_CROWDED)
        written = sum(begin < at <= end for times in answers for at in times)
        return written / (end - begin)

    def _require(self, tokens: int) -> None:
        """Refuse a sequence that has no room, before it is made: its length may be any number."""
        capacity = self._engine.token_capacity
        if tokens > capacity:
            room = f"context and cache have room for {capacity}"
            raise _ImpossibleError(f"it needs {tokens} tokens; {room}")

    def _answer(
        self, prompts: list[list[int]], tokens: int, heard: Callable[[], None] = lambda: None
    ) -> tuple[float, list[list[float]]]:
        """When it began, and when each token of each answer was known."""
        answers: list[list[float]] = [[] for _ in prompts]

        def writer(times: list[float]) -> Callable[[int], bool]:
            def accept(_: int) -> bool:
                times.append(time.perf_counter())
                heard()
                return True

            return accept

        work = [
            Generation(prompt, tokens, writer(times))
            for prompt, times in zip(prompts, answers, strict=True)
        ]
        begin = time.perf_counter()
        for _ in self._engine.run(work):
            pass
        return begin, answers

    def _ids(self, count: int, seed: int | None = None) -> list[int]:
        random = self._random if seed is None else np.random.default_rng(seed)
        found: list[int] = random.integers(self._engine.graph.vocabulary, size=count).tolist()
        return found

    def _profile(self) -> dict[str, dict[str, float]]:
        """Thread-seconds a token of each kind of operation: reading a prompt, and answering."""
        capacity = self._engine.token_capacity
        prompt = min(512, capacity - 1)
        tokens = min(self._load.tokens, capacity - BATCH_PROMPT - 1)
        marks = [self._engine.plan.profile]
        self._answer([self._ids(prompt)], 1)
        marks.append(self._engine.plan.profile)
        found = {"prefill": _each(marks[0], marks[1], prompt)}
        marks.clear()
        heard = lambda: marks.append(self._engine.plan.profile)  # noqa: E731
        self._answer([self._ids(BATCH_PROMPT)], 1 + tokens, heard)
        return found | {"decode": _each(marks[0], marks[-1], tokens)}


class _ImpossibleError(Exception):
    """Why something cannot be timed on this model."""


def multiply_adds(dtype: str, isa: str) -> int:
    """What one weight and one input cost: two where the input is split into two digits."""
    return 2 if dtype in _BLOCKS and isa in _MULTIPLY_BYTES else 1


def _mostly_integer(products: Sequence[Product]) -> bool:
    work = {True: 0, False: 0}
    for dtype, rows, cols, _, _ in products:
        work[dtype in _INTEGER] += rows * cols
    return work[True] > work[False]


def _each(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, float]:
    spent = {name: (after[name] - before[name]) / count for name in after}
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    child.serve(Job, _work)
