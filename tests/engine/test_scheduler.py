"""Queues: read as there is room, fair, cancellable, bounded; bad input is told in words."""

from __future__ import annotations

import os
import threading
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen import _core
from lichen.engine import Engine, Generation, scheduler
from lichen.errors import InputError, ResourceError
from lichen.self_check import tiny_engine

ISA = _core.supported_isas()[-1]
PAGE_BYTES = 2 * 4 * 2 * 16 * scheduler.PAGE_TOKENS  # keys and values of two heads of 16 floats


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine("int8", threads=1, isa=ISA)


class Asked:
    """A generation with its answer."""

    def __init__(self, prompt: list[int], tokens: int) -> None:
        self.answer: list[int] = []
        self.generation = Generation(prompt, tokens, self.accept)

    def accept(self, token: int) -> bool:
        self.answer.append(token)
        return True


def mixed(count: int, seed: int = 0) -> list[Asked]:
    """Prompts of 1 to 200 tokens, answers of 1 to 24; every third begins like others."""
    random = np.random.default_rng(seed)
    common = random.integers(0, 200, 100)
    asked = []
    for number in range(count):
        prompt = random.integers(0, 200, int(random.choice([1, 5, 40, 200])))
        if number % 3 == 0:
            prompt = np.concatenate([common, prompt[:60]])
        asked.append(Asked([int(token) for token in prompt], int(random.integers(1, 25))))
    return asked


def run(engine: Engine, asked: list[Asked], cancelled: Container[int] = ()) -> list[int]:
    return list(engine.run((a.generation for a in asked), cancelled))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_thousand_requests_of_mixed_length_in_flat_memory(engine: Engine) -> None:
    waiting, answers, resident = mixed(1000), {}, []
    begun: dict[int, Asked] = {}

    def queue() -> Iterator[Generation]:
        for number in range(1000):
            begun[number], waiting[number] = waiting[number], None
            yield begun[number].generation

    for number in engine.run(queue()):
        answers[number] = begun.pop(number).answer
        assert len(begun) <= scheduler.MAX_SEQUENCES + 1, "the queue is read too early"
        resident.append(resident_bytes())
    assert len(answers) == 1000
    assert max(resident[300:]) - max(resident[:300]) < 4 << 20
    lone = tiny_engine("int8", threads=1, isa=ISA, speculate=False)
    for number, asked in enumerate(mixed(1000)):
        run(lone, [asked])
        assert asked.answer == answers[number]
    assert engine._pages.available == engine._pages.total


def test_nothing_is_read_from_a_queue_before_there_is_room(engine: Engine) -> None:
    """Two run at a time: who is next is looked at when one of them has ended."""
    read = []

    def queue() -> Iterator[Generation]:
        for number in range(5):
            read.append(number)
            yield Asked([1] * 10, 3).generation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_max_sequences", 2)
        for done, _ in enumerate(engine.run(queue()), 1):
            assert len(read) <= done + 2


def test_requests_begin_in_order_even_if_a_later_one_would_fit() -> None:
    small = tiny_engine("float32", threads=1, isa=ISA, cache_bytes=8 * PAGE_BYTES)
    assert small.token_capacity == 256
    large, first, little = Asked([1] * 200, 50), Asked([2] * 150, 50), Asked([3] * 4, 4)
    assert run(small, [first, large, little])[0] == 0


def test_who_generates_waits_for_a_piece_of_a_long_prompt_only(engine: Engine) -> None:
    """While a prompt of 200 tokens is read in pieces of 16, the other goes on at every step."""
    talker, reader = Asked([1, 2, 3], 40), Asked([int(t) for t in range(200)], 2)
    progress = []
    talker.generation.accept = lambda token: progress.append(len(reader.answer)) or True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "PROMPT_TOKENS", 16)
        patch.setattr(scheduler, "STEP_TOKENS", 40)
        patch.setattr(engine, "_drafter", None)
        run(engine, [talker, reader])
    left = 200 - (40 - 3)  # the first step is all prompt
    assert progress.count(0) == -(-left // 16) + 1


def test_a_long_prompt_gets_its_piece_of_every_step(engine: Engine) -> None:
    """However many generate: it is not put off until they are done."""
    talkers = [Asked([number, 7], 40) for number in range(30)]
    reader = Asked([int(t) for t in range(200)], 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "PROMPT_TOKENS", 16)
        patch.setattr(scheduler, "STEP_TOKENS", 40)
        patch.setattr(engine, "_drafter", None)
        assert run(engine, [*talkers, reader])[0] == len(talkers)


# --- Cancelling -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    when=st.dictionaries(st.integers(0, 29), st.integers(0, 150), max_size=20),
    piece=st.sampled_from((1, 20, 512)),
    at_once=st.sampled_from((2, 30)),
    seed=st.integers(0, 3),
)
def test_the_others_do_not_notice_who_is_cancelled(engine: Engine, when, piece, at_once, seed):
    """At any moment, counted in tokens of all: waiting, reading its prompt, sharing, or writing."""
    asked, expected = mixed(30, seed), whole(seed)
    cancelled: set[int] = {number for number, moment in when.items() if moment == 0}
    count = 0

    def watched(one: Asked):
        def accept(token: int) -> bool:
            nonlocal count
            count += 1
            cancelled.update(number for number, moment in when.items() if moment == count)
            return one.accept(token)

        return accept

    for one in asked:
        one.generation.accept = watched(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "PROMPT_TOKENS", piece)
        patch.setattr(scheduler, "STEP_TOKENS", 60)
        patch.setattr(engine, "_max_sequences", at_once)
        assert sorted(run(engine, asked, cancelled)) == list(range(30))
    for number, one in enumerate(asked):
        if number in when:
            assert one.answer == expected[number][: len(one.answer)]
        else:
            assert one.answer == expected[number]
    assert engine._pages.available == engine._pages.total


WHOLE: dict[int, list[list[int]]] = {}


def whole(seed: int) -> list[list[int]]:
    """The answers to `mixed` when nobody is cancelled, each alone."""
    if seed not in WHOLE:
        lone = tiny_engine("int8", threads=1, isa=ISA, speculate=False)
        asked = mixed(30, seed)
        for one in asked:
            run(lone, [one])
        WHOLE[seed] = [one.answer for one in asked]
    return WHOLE[seed]


def alone(prompt: list[int], tokens: int) -> list[int]:
    asked = Asked(prompt, tokens)
    run(tiny_engine("int8", threads=1, isa=ISA, speculate=False), [asked])
    return asked.answer


@pytest.mark.parametrize("moment", range(0, 9, 2))
def test_pages_of_one_who_is_cancelled_are_written_by_who_shares_them(moment: int) -> None:
    """Three begin alike; the first of them is cancelled while it reads, the others wait for it."""
    fresh = tiny_engine("int8", threads=1, isa=ISA)
    fresh._cache.fill(np.nan)
    common = [int(t) for t in np.random.default_rng(5).integers(0, 200, 150)]
    talker, reader = Asked([1, 2, 3], 60), Asked([*common, 7], 4)
    sharers = [Asked([*common[:100], 8, 9], 4), Asked([*common, 10], 4)]
    cancelled: set[int] = set()

    def talk(token: int) -> bool:
        if len(talker.answer) == moment:
            cancelled.add(1)
        return talker.accept(token)

    talker.generation.accept = talk
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "PROMPT_TOKENS", 16)
        patch.setattr(scheduler, "STEP_TOKENS", 20)
        run(fresh, [talker, reader, *sharers], cancelled)
    assert reader.answer == []
    for sharer in sharers:
        assert sharer.answer == alone(sharer.generation.prompt, 4)


class Wrong:
    """A drafter whose guesses are never right."""

    seconds = 0.0

    def open(self, prompt: list[int], capacity: int) -> Wrong:
        return self

    def odds(self, tokens: list[int]) -> list[float]:
        return [0.999] * 5

    def guess(self, count: int) -> list[int]:
        return [199 - n for n in range(count)]

    def close(self) -> None:
        pass


def test_a_follow_up_shares_the_answer_but_no_wrong_guess() -> None:
    """As in a chat: the next prompt is the last one, its answer, and more."""
    first = [int(t) for t in np.random.default_rng(6).integers(0, 100, 20)]
    for tokens in range(10, 16):
        fresh = tiny_engine("int8", threads=1, isa=ISA)
        fresh._drafter = Wrong()
        fresh._cache.fill(np.nan)
        asked = Asked(first, tokens)
        run(fresh, [asked])
        follow_up = Asked([*first, *asked.answer, 5, 6, 7], 3)
        before = fresh._pages.open(follow_up.generation.prompt, 40)
        assert before.shared_tokens == (32 if tokens > 12 else 0)
        fresh._pages.close(before, 40)
        run(fresh, [follow_up])
        assert follow_up.answer == alone(follow_up.generation.prompt, 3)


def test_another_thread_can_cancel(engine: Engine) -> None:
    """The first would go on for long; a thread ends it once it has begun."""
    cancelled: set[int] = set()
    began = threading.Event()
    endless, other = Asked([1, 2, 3], 250), Asked([4, 5, 6], 20)
    endless.generation.accept = lambda token: endless.accept(token) and (began.set() or True)

    def cancel() -> None:
        began.wait()
        cancelled.add(0)

    thread = threading.Thread(target=cancel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_drafter", None)
        thread.start()
        ended = run(engine, [endless, other], cancelled)
        thread.join()
    assert sorted(ended) == [0, 1]
    assert len(other.answer) == 20


def test_one_cancelled_before_it_began_writes_nothing(engine: Engine) -> None:
    asked = mixed(3)
    assert sorted(run(engine, asked, {1})) == [0, 1, 2]
    assert asked[1].answer == []
    assert asked[0].answer
    assert asked[2].answer


# --- What cannot be done is told ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "tokens", "words"),
    [
        pytest.param([], 4, "the prompt is empty", id="empty"),
        pytest.param([1], 0, "max_tokens is 0", id="no-tokens"),
        pytest.param([1] * 1020, 9, "1029 tokens is too long.*room for 1024", id="too-long"),
        pytest.param([1, 200], 4, "token id 200 does not exist.*0 to 199", id="id-too-large"),
        pytest.param([1, -1], 4, "token id -1 does not exist", id="id-negative"),
    ],
)
def test_bad_generations_are_refused_in_words(engine, prompt, tokens, words) -> None:
    """The run ends; those before it were answered or are given up, and the engine goes on."""
    good = Asked([1, 2, 3], 2)
    with pytest.raises(InputError, match=words):
        run(engine, [good, Asked(prompt, tokens)])
    assert engine._pages.available == engine._pages.total
    assert run(engine, [Asked([1, 2, 3], 2)]) == [0]


def test_bad_ids_to_score_are_refused_in_words(engine: Engine) -> None:
    with pytest.raises(InputError, match="token id 999 does not exist"):
        next(engine.logits(np.array([1, 999], np.int32)))
    with pytest.raises(InputError, match="text of 100000 tokens is too long"):
        next(engine.logits(np.zeros(100_000, np.int32)))


def test_a_queue_of_nothing_is_done_at_once(engine: Engine) -> None:
    assert run(engine, []) == []


@pytest.mark.parametrize("size", [0, -1, 513])
def test_a_batch_of_no_or_too_many_sequences_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"1 to 512 sequences, not {size}"):
        tiny_engine("float32", threads=1, isa=ISA, max_sequences=size)


def test_scoring_and_generating_share_the_cache(engine: Engine) -> None:
    """A text that is being scored keeps its pages; who finds none is told, not left out."""
    small = tiny_engine("float32", threads=1, isa=ISA, cache_bytes=8 * PAGE_BYTES)
    scored = small.logits(np.zeros(256, np.int32))
    next(scored)
    with pytest.raises(ResourceError, match="taken by a text that is being scored"):
        run(small, [Asked([1], 1)])
    scored.close()
    assert run(small, [Asked([1], 1)]) == [0]
