"""Calibration text: where it comes from, and the pieces that are drawn from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lichen import calibration, code_text
from lichen.calibration import sequences
from lichen.code_text import CodeText, from_path
from lichen.errors import InputError
from lichen.verify import divergence

#: 1000 tokens, each of which says where it stood.
TEXT = CodeText("numbers", (" ".join(map(str, range(600))), " ".join(map(str, range(600, 1000)))))


def encode(texts: Sequence[str]) -> list[list[int]]:
    return [[int(word) for word in text.split()] for text in texts]


def test_pieces_are_runs_of_the_text_and_none_is_drawn_twice() -> None:
    drawn = sequences(TEXT, encode, count=31, length=32, seed=0)
    runs = [ids for ids in drawn if ids[0] != 576]  # behind there the rests are joined
    for ids in runs:
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, np.arange(ids[0], ids[0] + 32))
    assert len(runs) == 30
    assert len({int(ids[0]) for ids in drawn}) == 31


def test_what_whole_pieces_leave_is_joined() -> None:
    drawn = sequences(TEXT, encode, count=31, length=32, seed=0)
    (joined,) = [ids for ids in drawn if ids[0] == 576]
    np.testing.assert_array_equal(joined, [*range(576, 600), *range(984, 992)])


@pytest.mark.parametrize("seed", range(5))
def test_documents_take_turns_and_half_of_them_begin_with_their_beginning(seed: int) -> None:
    """Eight documents of 40 tokens, whose pieces of 8 leave nothing."""
    text = CodeText("eight", tuple(" ".join(map(str, range(d, d + 40))) for d in range(0, 320, 40)))
    starts = [int(ids[0]) for ids in sequences(text, encode, count=40, length=8, seed=seed)]
    for turn in range(0, 40, 8):
        assert {start // 40 for start in starts[turn : turn + 8]} == set(range(8))
    assert [start % 40 for start in starts[:8:2]] == [0] * 4
    assert len(set(starts)) == 40


def test_the_seed_decides_and_fewer_are_the_first_of_more() -> None:
    few = sequences(TEXT, encode, count=5, length=32, seed=3)
    more = sequences(TEXT, encode, count=9, length=32, seed=3)
    other = sequences(TEXT, encode, count=5, length=32, seed=4)
    np.testing.assert_array_equal(few, more[:5])
    assert not np.array_equal(few, other)


def test_a_begin_token_counts_as_one_of_the_piece() -> None:
    drawn = sequences(TEXT, encode, count=3, length=11, seed=0, bos=7777)
    for ids in drawn:
        assert (len(ids), ids[0]) == (11, 7777)
        np.testing.assert_array_equal(ids[1:], np.arange(ids[1], ids[1] + 10))


@pytest.mark.parametrize(
    ("text", "length", "words"),
    [
        (CodeText("nothing", ("",)), 8, "nothing has 0 tokens, one sequence needs 8; give more"),
        (TEXT, 1001, "has 1000 tokens, one sequence needs 1001; .* a shorter --calibration-length"),
        (TEXT, 300, "enough for 3 sequences of 300, not 4; give more text or ask for fewer"),
    ],
)
def test_too_little_text_is_refused(text: CodeText, length: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sequences(text, encode, count=4, length=length, seed=0)


def test_the_standard_library_is_code_that_no_divergence_is_measured_on() -> None:
    text = calibration.standard_library()
    assert len(text.documents) >= 90
    assert not set(text.documents) & set(divergence.standard_library().documents)
    assert all("def " in document for document in text.documents)
    assert sum(map(len, text.documents)) > 2_000_000
    assert text.sha256 == calibration.standard_library().sha256
    assert text.name.endswith(f"{len(text.documents)} modules")


def test_an_interpreter_without_sources_is_told(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(code_text.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(InputError, match="without the source of its library"):
        calibration.standard_library()


def test_a_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_text("def f(): pass")
    text = from_path(tmp_path / "x.dat")
    assert (text.name, text.documents) == ("x.dat", ("def f(): pass",))
    assert text.sha256 == hashlib.sha256(b"def f(): pass").hexdigest()


def test_a_folder_is_its_text_files_by_path(tmp_path: Path) -> None:
    contents = {
        "b.py": b"b",
        "a/z.md": b"a/z",
        "a/c.PY": b"a/c",
        "image.png": b"\x89PNG",
        "latin.py": b"\xe9t\xe9",
        "empty.py": b"",
        ".git/x.py": b"hidden",
        "a/.cache/y.py": b"hidden",
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(content)
    text = from_path(tmp_path)
    assert text.documents == ("a/c", "a/z", "b")
    (tmp_path / "b.py").write_text("B")
    assert from_path(tmp_path).sha256 != text.sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.py", r"missing\.py: cannot be read \(No such file or directory\)"),
        ("bad.py", r"bad\.py: is not UTF-8 text; give a text file or a folder"),
        ("folder", "folder: no file with text in it"),
    ],
)
def test_what_holds_no_text_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=message):
        from_path(tmp_path / name)
