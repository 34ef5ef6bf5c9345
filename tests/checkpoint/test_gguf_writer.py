"""The GGUF container: what is written is what the `gguf` package and lichen read."""

import io
from pathlib import Path

import gguf
import numpy as np
import pytest

from lichen.checkpoint.atomic import AtomicFile
from lichen.checkpoint.gguf_encode import TYPES
from lichen.checkpoint.gguf_file import read_gguf
from lichen.checkpoint.gguf_writer import TensorPlan, header, write_gguf
from lichen.errors import InputError

METADATA = {
    "general.architecture": "llama",
    "text": "naïve 日本語\n",
    "empty": "",
    "whole": 4_000_000_000,
    "large": 1 << 40,
    "below_zero": -3,
    "real": 1e-6,
    "flag": True,
    "names": ["a", "", "ü"],
    "numbers": [1, -2, 3],
    "reals": [0.5, -1.0],
    "flags": [True, False],
}


def plan(name: str, values: np.ndarray, kind: str = "F32") -> TensorPlan:
    return TensorPlan(name, values.shape, TYPES[kind], lambda: values.view(np.uint8).reshape(-1))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    tensors = {
        "vector": np.arange(5, dtype=np.float32),
        "matrix": np.arange(21, dtype=np.float32).reshape(3, 7),
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
    }
    plans = [plan(n, t, "F16" if n == "half" else "F32") for n, t in tensors.items()]
    with path.open("wb") as file:
        write_gguf(file, METADATA, plans)
    assert path.stat().st_size == len(header(METADATA, plans)) + 32 + 96 + 32
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    for key, value in METADATA.items():
        expected = pytest.approx(value) if key in ("real", "reals") else value
        assert ours.metadata[key] == expected
        assert theirs.fields[key].contents() == expected
    assert theirs.fields["numbers"].types[1] == gguf.GGUFValueType.INT32
    assert theirs.fields["whole"].types[0] == gguf.GGUFValueType.UINT32
    assert theirs.fields["real"].types[0] == gguf.GGUFValueType.FLOAT32
    for found in theirs.tensors:
        assert found.data_offset % 32 == 0
        np.testing.assert_array_equal(found.data, tensors[found.name])
        np.testing.assert_array_equal(ours.read(ours.tensors[found.name]), tensors[found.name])


@pytest.mark.parametrize(
    ("value", "words"), [([], "empty list"), (None, "NoneType"), (1j, "complex")], ids=str
)
def test_values_without_a_type(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        header({"key": value}, [])


def test_a_tensor_of_another_size_than_planned() -> None:
    values = np.zeros(4, np.float32)
    wrong = TensorPlan("x", (5,), TYPES["F32"], lambda: values.view(np.uint8))
    with pytest.raises(ValueError, match="x: 16 bytes were made, not 20"):
        write_gguf(io.BytesIO(), {"a": 1}, [wrong])


# --- files that are whole or not there ---------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.gguf"
    for content in (None, b"old"):
        if content:
            target.write_bytes(content)
        with pytest.raises(error), AtomicFile(target, force=True) as file:
            file.write(b"half")
            raise error
        assert [p.name for p in tmp_path.iterdir()] == ([target.name] if content else [])
    assert target.read_bytes() == b"old"


def test_a_file_that_is_there_is_replaced_by_force_alone(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.gguf"
    with AtomicFile(target) as file:
        file.write(b"first")
        assert not target.exists()
    with pytest.raises(InputError, match="--force"):
        AtomicFile(target).__enter__()
    (target.parent / ".out.gguf.partial-999999999").write_bytes(b"left by a crash")
    with AtomicFile(target, force=True) as file:
        file.write(b"second")
        assert target.read_bytes() == b"first"
    assert target.read_bytes() == b"second"
    assert [p.name for p in target.parent.iterdir()] == ["out.gguf"]


def test_what_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"

    def write() -> None:
        with AtomicFile(target) as file:
            file.write(b"ours")
            target.write_bytes(b"theirs")

    with pytest.raises(InputError, match="is there already"):
        write()
    assert target.read_bytes() == b"theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["out.gguf"]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        AtomicFile(tmp_path, force=True).__enter__()
