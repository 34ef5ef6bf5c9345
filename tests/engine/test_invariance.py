"""The property that everything else leans on: an answer is the same, bit for bit, whatever runs
beside it, in whatever order and pieces, with any number of threads, guessed ahead or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import cycle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lichen import _core
from lichen.engine import Engine, Generation, batch, scheduler
from lichen.engine.cache import PagePool
from lichen.engine.sampling import Sampler
from lichen.engine.scheduler import KV_TYPES, MAX_SEQUENCES
from lichen.self_check import FORMATS, tiny_engine

ISA = _core.supported_isas()[-1]
TOKENS = 6
VOCABULARY = 200


def prompts() -> list[list[int]]:
    """Of 1 to 600 tokens; many begin like others, at a page's edge and elsewhere."""
    random = np.random.default_rng(7)
    text = [int(token) for token in random.integers(0, VOCABULARY, 600)]
    cuts = [1, 2, 31, 32, 33, 64, 65, 100, 150, 509, 600]
    made = [text[:cut] for cut in cuts] + [text[:64] + text[200 : 200 + n] for n in (1, 5, 40)]
    return made + [text[300 : 300 + n] for n in (3, 32, 70)] + [text[:4] * 12]


PROMPTS = prompts()
TEMPERATURES = (0.0, 1.0)


class Recorder(Sampler):
    """Keeps the bits of all logits, and the tokens that were picked from them."""

    def __init__(self, temperature: float) -> None:
        super().__init__(temperature, 0.9, 3)
        self.seen: list[tuple[bytes, int]] = []

    def pick(self, logits: np.ndarray) -> int:
        token = super().pick(logits)
        self.seen.append((logits.tobytes(), token))
        return token


class Oracle:
    """Guesses that know the answers, and err where they are told to."""

    seconds = 0.0

    def __init__(self, form: str, kv_cache: str, right: Sequence[bool]) -> None:
        self._model = form, kv_cache
        self._right = cycle(right)

    def open(self, prompt: Sequence[int], capacity: int) -> _Guesses:
        seen = alone(*self._model, PROMPTS.index(list(prompt)), 0.0)
        return _Guesses([token for _, token in seen], len(prompt), self._right)


class _Guesses:
    def __init__(self, answer: list[int], prompt: int, right: Iterator[bool]) -> None:
        self._answer = answer
        self._prompt = prompt
        self._right = right
        self._produced = 0

    def odds(self, tokens: Sequence[int]) -> list[float]:
        self._produced = len(tokens) - self._prompt
        return [0.999] * len(self._answer[self._produced :])

    def guess(self, count: int) -> list[int]:
        known = self._answer[self._produced : self._produced + count]
        return [token if next(self._right) else token ^ 1 for token in known]

    def close(self) -> None:
        pass


class Free:
    """Steps that cost the same however many rows they have: every guess is tried."""

    measured = True

    def learn(self, rows: int, seconds: float) -> None:
        pass

    def __call__(self, rows: int) -> float:
        return 1.0


@lru_cache(6)  # those of one format
def engine(form: str, kv_cache: str, threads: int) -> Engine:
    return tiny_engine(form, threads=threads, isa=ISA, speculate=False, kv_cache=kv_cache)


@cache
def alone(form: str, kv_cache: str, prompt: int, temperature: float) -> list[tuple[bytes, int]]:
    """What it is without neighbours, threads, guesses, pieces and pages of others."""
    recorder = Recorder(temperature)
    lone = tiny_engine(form, threads=1, isa=ISA, speculate=False, kv_cache=kv_cache)
    list(lone.run([Generation(PROMPTS[prompt], TOKENS, lambda _: True, recorder)]))
    return recorder.seen


Asked = list[tuple[int, int, float]]

NUMBERS = st.integers(0, len(PROMPTS) - 1)
SOME = st.lists(
    st.tuples(NUMBERS, st.integers(1, TOKENS), st.sampled_from(TEMPERATURES)),
    min_size=1,
    max_size=MAX_SEQUENCES,
)
#: As many as run at once, and long enough to meet: the first still write as the last begin.
CROWD = st.lists(
    st.tuples(NUMBERS, st.just(TOKENS), st.sampled_from(TEMPERATURES)),
    min_size=MAX_SEQUENCES,
    max_size=MAX_SEQUENCES,
)
FULL: Asked = [(n % len(PROMPTS), TOKENS, TEMPERATURES[n % 3 // 2]) for n in range(MAX_SEQUENCES)]


def generations(asked: Asked, recorders: Sequence[Recorder]) -> list[Generation]:
    return [
        Generation(PROMPTS[prompt], tokens, lambda _: True, recorder)
        for (prompt, tokens, _), recorder in zip(asked, recorders, strict=True)
    ]


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=12)
@example((FULL, 64), "float32", 2, 512, 512, True, None)
@example((FULL, 64), "int8", 2, 512, 512, True, [True])
@given(
    queue=st.tuples(SOME, st.sampled_from((1, 3, 64))) | st.tuples(CROWD, st.just(64)),
    kv_cache=st.sampled_from(KV_TYPES),
    threads=st.sampled_from((1, 2)),
    step=st.sampled_from((70, 100, 512)),
    piece=st.sampled_from((1, 7, 33, 512)),
    sharing=st.booleans(),
    right=st.none() | st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_answers_are_those_of_one_alone(
    form: str,
    queue: tuple[Asked, int],
    kv_cache: str,
    threads: int,
    step: int,
    piece: int,
    sharing: bool,
    right: list[bool] | None,
) -> None:
    asked, at_once = queue
    recorders = [Recorder(temperature) for _, _, temperature in asked]
    tested = engine(form, kv_cache, threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "STEP_TOKENS", step)
        patch.setattr(scheduler, "PROMPT_TOKENS", piece)
        patch.setattr(tested, "_max_sequences", at_once)
        patch.setattr(tested, "_drafter", Oracle(form, kv_cache, right) if right else None)
        patch.setattr(tested, "_cost", Free())
        if not sharing:
            patch.setattr(PagePool, "_match", lambda *_: ([], 0))
        assert sorted(tested.run(generations(asked, recorders))) == list(range(len(asked)))
    for (prompt, tokens, temperature), recorder in zip(asked, recorders, strict=True):
        assert recorder.seen == alone(form, kv_cache, prompt, temperature)[:tokens]


def test_a_full_queue_meets_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the property above would say nothing about large batches."""
    sizes, arrays = [], batch.arrays

    def counted(parts: list[batch.Part]) -> tuple[batch.Ints, ...]:
        sizes.append(sum(part.sequence.generating for part in parts))
        return arrays(parts)

    monkeypatch.setattr(batch, "arrays", counted)
    recorders = [Recorder(0.0) for _ in FULL]
    list(engine("float32", "float32", 2).run(generations(FULL, recorders)))
    assert max(sizes) == 64
