"""The page pool: nothing leaks, nothing is shared that differs, prefixes are found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen.engine.cache import PagePool

SIZE = 4


def opened(pool: PagePool, prompt: list[int], capacity: int | None = None):
    table = pool.open(prompt, capacity or len(prompt) + 4)
    assert table is not None
    pool.publish(table, prompt, len(prompt))
    return table


def test_equal_prompts_share_full_pages_but_not_the_last_token() -> None:
    pool = PagePool(20, SIZE)
    first = opened(pool, list(range(8)))
    second = opened(pool, list(range(8)))
    assert second.shared_tokens == SIZE
    assert first.pages[0] == second.pages[0]
    assert not set(first.pages[1:]) & set(second.pages[1:])


def test_a_page_is_shared_only_after_the_same_beginning() -> None:
    pool = PagePool(20, SIZE)
    opened(pool, [1, 1, 1, 1, 5, 6, 7, 8, 0])
    other = opened(pool, [2, 2, 2, 2, 5, 6, 7, 8, 0])
    assert other.shared_tokens == 0


def test_closed_sequences_are_still_found() -> None:
    pool = PagePool(20, SIZE)
    pool.close(opened(pool, list(range(9))), 9)
    assert pool.available == 20
    assert opened(pool, list(range(9))).shared_tokens == 8


def test_old_pages_make_room_and_are_forgotten() -> None:
    pool = PagePool(3, SIZE)
    pool.close(opened(pool, list(range(9)), 12), 9)
    pool.close(opened(pool, list(range(100, 109)), 12), 9)
    again = opened(pool, list(range(9)), 12)
    assert again.shared_tokens == 0


def test_without_room_nothing_is_taken() -> None:
    pool = PagePool(3, SIZE)
    opened(pool, [1, 2, 3], 8)
    assert pool.open([4, 5, 6], 9) is None
    assert pool.available == 1


def test_pages_that_were_never_computed_are_not_found() -> None:
    pool = PagePool(6, SIZE)
    pool.close(opened(pool, list(range(13)), 16), 6)
    assert pool.available == 6
    assert opened(pool, list(range(13)), 16).shared_tokens == SIZE


PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=14)


@settings(max_examples=200)
@given(st.lists(st.tuples(PROMPTS, st.integers(1, 6), st.none() | st.integers(0, 14)), max_size=25))
def test_pages_hold_what_their_readers_think(history) -> None:
    """Model check: simulate contents, and compare at every opening."""
    pool = PagePool(12, SIZE)
    contents: dict[int, tuple[int, ...]] = {}
    alive = []
    for prompt, extra, computed in history:
        if computed is not None and alive:
            oldest = alive.pop(0)
            for page in oldest.pages[computed // SIZE :]:
                contents.pop(page, None)
            pool.close(oldest, computed)
        table = pool.open(prompt, len(prompt) + extra)
        if table is None:
            continue
        pages = table.pages
        assert len(set(pages)) == len(pages)
        in_use = {page for other in alive for page in other.pages}
        fresh = pages[table.shared_tokens // SIZE :]
        assert not in_use & set(fresh)
        for number in range(table.shared_tokens // SIZE):
            assert contents[pages[number]] == tuple(prompt[: (number + 1) * SIZE])
        for number in range(table.shared_tokens // SIZE, len(pages)):
            contents[pages[number]] = tuple(prompt[: (number + 1) * SIZE])
        pool.publish(table, prompt, len(prompt))
        alive.append(table)
    for table in alive:
        pool.close(table, 14)
    assert pool.available == 12


@pytest.mark.parametrize(("tokens", "pages"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_pages_for(tokens: int, pages: int) -> None:
    assert PagePool(1, SIZE).pages_for(tokens) == pages
