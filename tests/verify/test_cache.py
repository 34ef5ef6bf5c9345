"""Completions survive a kill at any byte, and are never confused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lichen.completion import Completion, Request
from lichen.verify.cache import CompletionCache, key_of

ANSWER = Completion("    return 1\n", "stop", 12, 5)


def test_an_answer_is_there_after_reopening(tmp_path: Path) -> None:
    with CompletionCache(tmp_path / "cache.jsonl") as cache:
        cache.put("a", ANSWER)
    with CompletionCache(tmp_path / "cache.jsonl") as cache:
        assert cache["a"] == ANSWER


def test_an_answer_is_on_disk_before_the_next_is_asked(tmp_path: Path) -> None:
    with CompletionCache(tmp_path / "cache.jsonl") as cache:
        cache.put("a", ANSWER)
        assert CompletionCache(tmp_path / "cache.jsonl")["a"] == ANSWER


def test_opening_alone_writes_nothing(tmp_path: Path) -> None:
    with CompletionCache(tmp_path / "cache.jsonl"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_missing_names_each_open_key_once_in_order(tmp_path: Path) -> None:
    with CompletionCache(tmp_path / "cache.jsonl") as cache:
        cache.put("b", ANSWER)
    assert cache.missing(["a", "b", "c", "a", "c"]) == [0, 2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=5), data=st.data())
def test_a_torn_file_keeps_its_whole_lines_and_goes_on(
    tmp_path: Path, texts: list[str], data: st.DataObject
) -> None:
    path = tmp_path / "cache.jsonl"
    path.unlink(missing_ok=True)
    with CompletionCache(path) as cache:
        for number, text in enumerate(texts):
            cache.put(str(number), Completion(text, "eos", 1, 1))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    lines = whole[:cut].count(b"\n")
    with CompletionCache(path) as cache:
        # The newline alone may be missing of a line that is complete.
        assert len(cache) in (lines, lines + 1)
        cache.put("new", ANSWER)
    with CompletionCache(path) as cache:
        assert cache["new"] == ANSWER
        for number in range(lines):
            assert cache[str(number)].text == texts[number]


BASE = Request("p", 8, 0.0, 1.0, 0, ("x",))


@pytest.mark.parametrize(
    ("model", "request_"),
    [
        ("other", BASE),
        ("m", Request("q", 8, 0.0, 1.0, 0, ("x",))),
        ("m", Request("p", 9, 0.0, 1.0, 0, ("x",))),
        ("m", Request("p", 8, 0.5, 1.0, 0, ("x",))),
        ("m", Request("p", 8, 0.0, 0.9, 0, ("x",))),
        ("m", Request("p", 8, 0.0, 1.0, 1, ("x",))),
        ("m", Request("p", 8, 0.0, 1.0, 0, ("x", "y"))),
    ],
    ids=["model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop"],
)
def test_whatever_changes_the_answer_changes_the_key(model: str, request_: Request) -> None:
    assert key_of(model, request_) != key_of("m", BASE)
    assert key_of("m", BASE) == key_of("m", Request("p", 8, 0.0, 1.0, 0, ("x",)))
