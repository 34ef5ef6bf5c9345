"""Memory that is used again: only what nobody holds, only inside, with any number of threads."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lichen.reuse import empty, forgetting, reusing

COUNT = 1 << 20
VIEWS = {
    "rows": lambda whole: whole[1:],
    "bytes": lambda whole: whole.view(np.uint8),
    "reshaped": lambda whole: whole.reshape(-1),
    "of a view": lambda whole: memoryview(whole[1:].reshape(-1)),
}


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_of_an_array_that_is_gone_is_used_again() -> None:
    with reusing():
        first = empty((2, COUNT), np.float32)
        where = address(first)
        del first
        again = empty((COUNT, 2), np.int16)
        assert address(again) == where
        assert (again.shape, again.dtype) == ((COUNT, 2), np.int16)


@pytest.mark.parametrize("view", VIEWS)
def test_memory_that_a_view_still_shows_is_not(view: str) -> None:
    with reusing():
        whole = empty((2, COUNT), np.float32)
        whole[:] = 7
        held = VIEWS[view](whole)
        before = np.array(held)
        del whole
        empty((2, COUNT), np.float32)[:] = 8
        np.testing.assert_array_equal(np.array(held), before)


def test_arrays_that_are_held_at_once_share_nothing() -> None:
    with reusing(), ThreadPoolExecutor(4) as pool:

        def fill(number: int) -> bool:
            array = empty(COUNT + number, np.float32)
            array[:] = number
            return bool((array == number).all())

        assert all(pool.map(fill, range(64)))


def test_an_array_is_never_given_memory_many_times_its_size() -> None:
    with reusing():
        large = empty(16 * COUNT, np.uint8)
        where = address(large)
        del large
        assert address(empty(2 * COUNT, np.uint8)) != where


def test_outside_arrays_are_plain_ones() -> None:
    assert empty((3, COUNT), np.float32).base is None
    with reusing(), reusing():
        pass
    assert empty((3, COUNT), np.float32).base is None
    assert empty((), np.float32).shape == ()


def test_small_arrays_are_not_kept() -> None:
    with reusing(smallest=8 * COUNT):
        held = empty(8 * COUNT - 1, np.uint8)
        assert held.base is None
        assert empty(8 * COUNT, np.uint8).base is not None


def test_what_is_made_while_forgetting_is_kept_for_nobody() -> None:
    with reusing():
        kept = empty(4 * COUNT, np.uint8)
        where = address(kept)
        del kept
        with forgetting():
            new = empty(4 * COUNT, np.uint8)
            assert address(new) != where
        forgotten = weakref.ref(new)
        del new
        assert forgotten() is None
        assert address(empty(4 * COUNT, np.uint8)) == where
