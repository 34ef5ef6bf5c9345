"""Guesses: what is looked up, what it costs, and when it is worth trying."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lichen import _core
from lichen.engine import Engine, Generation
from lichen.engine.draft import MOST, StepCost, lengths
from lichen.engine.draft_model import ModelDrafter
from lichen.engine.lookup import LookupDraft
from lichen.engine.sampling import Sampler
from lichen.self_check import tiny_engine

ISA = _core.supported_isas()[-1]


def guessed(tokens: list[int], count: int = MOST) -> list[int]:
    draft = LookupDraft(len(tokens))
    return draft.guess(count) if draft.odds(tokens) else []


def longest_agreement(tokens: list[int]) -> int:
    """By trying every place: how far back an earlier place agrees with the end."""

    def agreement(place: int) -> int:
        length = 0
        while length < place + 1 and tokens[place - length] == tokens[len(tokens) - 1 - length]:
            length += 1
        return length

    return max((agreement(place) for place in range(len(tokens) - 1)), default=0)


def test_what_followed_before_is_guessed() -> None:
    assert guessed([1, 2, 3, 4, 5, 9, 2, 3], 3) == [4, 5, 9]


def test_the_place_that_agrees_furthest_back_is_taken() -> None:
    assert guessed([7, 1, 2, 5, 0, 1, 2, 6, 7, 1, 2], 1) == [5]


def test_of_equal_places_the_latest_is_taken() -> None:
    assert guessed([1, 2, 5, 0, 1, 2, 6, 8, 1, 2], 1) == [6]


def test_a_repetition_is_guessed_on_beyond_its_end() -> None:
    assert guessed([4, 1, 2, 3, 1, 2, 3], 7) == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("tokens", [[], [1], [1, 1], [1, 2, 3, 4], [5, 1, 6, 1]], ids=str)
def test_nothing_is_guessed_without_a_pair_that_agrees(tokens: list[int]) -> None:
    assert guessed(tokens) == []


@given(st.lists(st.integers(0, 2), min_size=3, max_size=14))
def test_agreements_are_as_long_as_there_are(tokens: list[int]) -> None:
    """Short texts, where all earlier places are looked at, token by token as in an answer."""
    draft = LookupDraft(1)
    for end in range(1, len(tokens) + 1):
        found = bool(draft.odds(tokens[:end]))
        longest = longest_agreement(tokens[:end])
        assert draft._length == (longest if longest >= 2 else 0)
        assert found == (longest >= 2)


def test_odds_fall_and_learn() -> None:
    prompt = list(range(40))
    draft = LookupDraft(len(prompt))
    tokens = [*prompt, 5, 6]
    first = list(draft.odds(tokens))
    assert first == sorted(first, reverse=True)
    assert len(first) == MOST
    for wrong in range(100, 120):  # the pair 5, 6 is never followed by 7 again
        tokens += [wrong, 5, 6]
        last = draft.odds(tokens)
    assert last[0] < 0.5 * first[0]


def test_step_cost_fits_a_line() -> None:
    cost = StepCost()
    for rows in [1, 1, 5, 1, 9, 1, 1, 3, 1, 1] * 8:
        cost.learn(rows, 0.020 + 0.002 * rows)
    for rows in (1, 4, 16):
        assert cost(rows) == pytest.approx(0.020 + 0.002 * rows, rel=0.05)


def test_step_cost_survives_an_outlier_and_follows_a_change() -> None:
    cost = StepCost()
    for _ in range(50):
        cost.learn(1, 0.02)
    cost.learn(1, 5.0)
    assert cost(1) < 0.025
    for _ in range(400):
        cost.learn(1, 0.05)
    assert cost(1) == pytest.approx(0.05, rel=0.1)


def measured(fixed: float, row: float) -> StepCost:
    cost = StepCost()
    for rows in [1, 8, 32, 64] * 50:
        cost.learn(rows, fixed + row * rows)
    return cost


CHEAP, DEAR = measured(1.0, 0.01), measured(0.0, 1.0)


class Fixed(StepCost):
    """As on a machine where a row more costs a hundredth: no test hangs on this one's load."""

    def __init__(self) -> None:
        super().__init__()
        vars(self).update(vars(CHEAP))

    def learn(self, rows: int, seconds: float) -> None:
        pass


def test_guesses_are_tried_where_rows_cost_little() -> None:
    odds = [[0.9, 0.8, 0.7], [0.2], []]
    assert lengths(odds, CHEAP, 0.0, 500) == [3, 1, 0]
    assert lengths(odds, DEAR, 0.0, 500) == [0, 0, 0]
    assert lengths(odds, CHEAP, 10.0, 500) == [0, 0, 0]
    assert lengths(odds, StepCost(), 0.0, 500) == [0, 0, 0]


def test_the_likeliest_guesses_take_the_room() -> None:
    odds = [[0.5, 0.4], [0.9, 0.85, 0.2]]
    assert lengths(odds, CHEAP, 0.0, 3) == [1, 2]


@given(
    st.lists(st.lists(st.floats(0.01, 1), max_size=5), min_size=1, max_size=4),
    st.floats(0.1, 10),
    st.floats(0.01, 1),
)
def test_no_other_number_of_guesses_yields_more(odds, fixed, row) -> None:
    odds = [sorted(of_one, reverse=True) for of_one in odds]
    cost = measured(fixed, row)
    counts = lengths(odds, cost, 0.0, 500)
    chances = sorted((chance for of_one in odds for chance in of_one), reverse=True)

    def rate(count: int) -> float:
        return (len(odds) + sum(chances[:count])) / cost(len(odds) + count)

    best = max(rate(count) for count in range(len(chances) + 1))
    assert rate(sum(counts)) == pytest.approx(best)


def steps_of(engine: Engine, prompt: list[int], tokens: int) -> tuple[list[int], int]:
    """The answer and the number of steps that it took."""
    answer: list[int] = []
    generation = Generation(prompt, tokens, lambda token: answer.append(token) or True)
    return answer, sum(1 for _ in engine.steps(generation))


def test_a_looping_answer_takes_fewer_steps() -> None:
    """A random model soon repeats itself; then guesses are right, and steps carry several."""
    prompt = [int(token) for token in np.random.default_rng(0).integers(0, 200, 20)]
    plain, many = steps_of(tiny_engine("int8", threads=1, isa=ISA, speculate=False), prompt, 200)
    engine = tiny_engine("int8", threads=1, isa=ISA)
    engine._cost = Fixed()
    guessing, fewer = steps_of(engine, prompt, 200)
    assert guessing == plain
    assert many == 200
    assert fewer < 150


def test_one_that_is_nearly_done_is_not_guessed_beyond() -> None:
    """Its pages end with its last token."""
    prompt = [1, 2, 3, 4] * 8
    engine = tiny_engine("float32", threads=1, isa=ISA)
    engine._cost = Fixed()
    for tokens in range(1, 40):
        answer, _ = steps_of(engine, prompt, tokens)
        assert len(answer) == tokens


# --- A smaller model ------------------------------------------------------------------------------


def drafted(form: str) -> Engine:
    """A float32 engine for which one with the same weights in another format guesses."""
    engine = tiny_engine("float32", threads=1, isa=ISA, speculate=False)
    small = tiny_engine(form, threads=1, isa=ISA, speculate=False)
    engine._drafter = ModelDrafter(small, engine.graph.vocabulary)
    engine._cost = Fixed()
    return engine


PROMPTS = [[int(t) for t in np.random.default_rng(n).integers(0, 200, 5 + 9 * n)] for n in range(6)]


@pytest.mark.parametrize("form", ["float32", "int8", "int4"])
def test_a_model_that_guesses_changes_no_answer(form: str) -> None:
    plain = tiny_engine("float32", threads=1, isa=ISA, speculate=False)
    engine = drafted(form)
    taken = 0
    for prompt in PROMPTS:
        expected, _ = steps_of(plain, prompt, 100)
        answer, steps = steps_of(engine, prompt, 100)
        assert answer == expected
        taken += steps
    assert taken < 0.7 * 100 * len(PROMPTS), "the same weights hardly ever agree"


def test_a_model_guesses_in_a_crowd_and_gives_its_pages_back() -> None:
    plain, engine = tiny_engine("float32", threads=1, isa=ISA, speculate=False), drafted("int8")
    answers: list[list[int]] = [[] for _ in PROMPTS]

    def generation(number: int) -> Generation:
        sampler = Sampler(float(number % 2), 0.9, number)
        accept = lambda token: answers[number].append(token) or True  # noqa: E731
        return Generation(PROMPTS[number], 30, accept, sampler)

    for run in (plain, engine):
        list(run.run([generation(number) for number in range(len(PROMPTS))]))
    assert all(answer[:30] == answer[30:] for answer in answers)
    small = engine._drafter._engine
    assert small._pages.available == small._pages.total


def test_a_model_without_room_does_not_guess() -> None:
    engine = drafted("int8")
    drafter = engine._drafter
    held = [drafter.open([1], 256) for _ in range(16)]
    while (draft := drafter.open([1], 256)) is not None:
        held.append(draft)
    answer, steps = steps_of(engine, PROMPTS[0], 20)
    assert len(answer) == steps == 20


def test_odds_of_a_model_follow_its_guesses() -> None:
    drafter = drafted("float32")._drafter
    draft = drafter.open([1, 2, 3], 200)
    tokens = [1, 2, 3]
    first = draft.odds(tokens)[0]
    for _ in range(20):
        [guess, *_] = draft.guess(2)
        tokens.append((guess + 1) % 200)
        wrong = draft.odds(tokens)[0]
    assert wrong < first
    for _ in range(20):
        tokens += draft.guess(2)
        right = draft.odds(tokens)[0]
    assert right > wrong
    assert drafter.seconds > 0
