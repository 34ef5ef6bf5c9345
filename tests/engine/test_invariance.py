"""The property that everything else leans on: an answer is the same, bit for bit, whatever runs
beside it, in whatever order and pieces, with any number of threads, guessed ahead or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen import _core
from lichen.engine import Engine, Generation, scheduler
from lichen.engine.cache import PagePool
from lichen.engine.sampling import Sampler
from lichen.self_check import FORMATS, tiny_engine

ISA = _core.supported_isas()[-1]
TOKENS = 6
VOCABULARY = 200


def prompts() -> list[list[int]]:
    """Of 1 to 150 tokens; many begin like others, at a page's edge and elsewhere."""
    random = np.random.default_rng(7)
    text = [int(token) for token in random.integers(0, VOCABULARY, 400)]
    cuts = [1, 2, 31, 32, 33, 64, 65, 100, 150]
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

    def __init__(self, form: str, right: Sequence[bool]) -> None:
        self._form = form
        self._right = cycle(right)

    def open(self, prompt: Sequence[int], capacity: int) -> _Guesses:
        seen = alone(self._form, PROMPTS.index(list(prompt)), 0.0)
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


@cache
def engine(form: str, threads: int) -> Engine:
    return tiny_engine(form, threads=threads, isa=ISA, speculate=False)


@cache
def alone(form: str, prompt: int, temperature: float) -> list[tuple[bytes, int]]:
    """What it is without neighbours, threads, guesses, pieces and pages of others."""
    recorder = Recorder(temperature)
    lone = tiny_engine(form, threads=1, isa=ISA, speculate=False)
    list(lone.run([Generation(PROMPTS[prompt], TOKENS, lambda _: True, recorder)]))
    return recorder.seen


ASKED = st.tuples(
    st.integers(0, len(PROMPTS) - 1), st.integers(1, TOKENS), st.sampled_from(TEMPERATURES)
)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=12)
@given(
    asked=st.lists(ASKED, min_size=1, max_size=64),
    threads=st.sampled_from((1, 2)),
    step=st.sampled_from((70, 100, 512)),
    piece=st.sampled_from((1, 7, 33, 512)),
    at_once=st.sampled_from((1, 3, 64)),
    sharing=st.booleans(),
    right=st.none() | st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_answers_are_those_of_one_alone(
    form: str,
    asked: list[tuple[int, int, float]],
    threads: int,
    step: int,
    piece: int,
    at_once: int,
    sharing: bool,
    right: list[bool] | None,
) -> None:
    recorders = [Recorder(temperature) for _, _, temperature in asked]
    generations = [
        Generation(PROMPTS[prompt], tokens, lambda _: True, recorder)
        for (prompt, tokens, _), recorder in zip(asked, recorders, strict=True)
    ]
    tested = engine(form, threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "STEP_TOKENS", step)
        patch.setattr(scheduler, "PROMPT_TOKENS", piece)
        patch.setattr(tested, "_max_sequences", at_once)
        patch.setattr(tested, "_drafter", Oracle(form, right) if right else None)
        patch.setattr(tested, "_cost", Free())
        if not sharing:
            patch.setattr(PagePool, "_match", lambda *_: ([], 0))
        assert sorted(tested.run(generations)) == list(range(len(asked)))
    for (prompt, tokens, temperature), recorder in zip(asked, recorders, strict=True):
        assert recorder.seen == alone(form, prompt, temperature)[:tokens]
