import contextlib
import json
import os
import socket

import pytest
from shelf import text
from shelf.text import first, initials, pairs, save, slug


@pytest.mark.parametrize(
    ("given", "expected"),
    [("Hello, World!", "hello-world"), ("", ""), ("one", "one"), ("A  b_c", "a-b_c")],
)
def test_slug(given, expected):
    assert slug(given) == expected


def test_initials():
    assert initials("ada lovelace") == "AL"
    assert initials("grace hopper", dots=True) == "G.H."


def test_first():
    assert first([3, 4]) == 3
    assert first(iter("xyz"), "q") == "x"
    assert first([], None) is None
    with pytest.raises(IndexError, match="no items"):
        first([])


def test_pairs():
    assert list(pairs("abc")) == [("a", "b"), ("b", "c")]
    assert list(pairs([])) == []


def test_pairs_by_way_of_the_module():
    assert next(text.pairs([1, 2])) == (1, 2)


def test_depth():
    assert text.depth(5) == 0
    assert text.depth([]) == 1
    assert text.depth([[], [[1]]]) == 3


def test_save(tmp_path):
    save(tmp_path / "lines.json", ["a", "b"])
    assert json.loads((tmp_path / "lines.json").read_text()) == ["a", "b"]


def test_guess_checks_nothing():
    with contextlib.suppress(Exception):
        text.guess("a1")


def test_that_fails():
    assert slug("wrong") == "right"


def test_runs_outside_a_sandbox_only():
    socket.socketpair()[0].close()
    assert os.path.isdir("/proc")
