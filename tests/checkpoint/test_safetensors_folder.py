"""Hugging Face folders: what is read as stored, and what is refused."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.tiny import DTYPES, write_json, write_tiny_model

from lichen.checkpoint import open_checkpoint
from lichen.errors import InputError

INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shards", [1, 3], ids=["single", "sharded"])
def test_tensors_come_as_stored(tmp_path: Path, dtype: str, shards: int) -> None:
    folder = write_tiny_model(tmp_path / "m", dtype=dtype, shards=shards)
    checkpoint = open_checkpoint(folder)
    expected: dict[str, Any] = {}
    for file in folder.glob("*.safetensors"):
        expected |= load_file(file)
    assert set(checkpoint.names()) == set(expected)
    for name, weight in expected.items():
        tensor = checkpoint.read(name)
        assert tensor.dtype == DTYPES[dtype]
        assert checkpoint.shape(name) == weight.shape
        assert tensor.tobytes() == weight.tobytes()
    short = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
    assert checkpoint.dtype("model.norm.weight") == short
    assert checkpoint.description == f"m, {dtype} safetensors"
    assert checkpoint.size_bytes == sum(f.stat().st_size for f in folder.glob("*.safetensors"))


def test_values_that_are_easy_to_lose(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    odd = np.array([np.inf, -0.0, 1e-40, np.nan], np.float32).astype(ml_dtypes.bfloat16)
    save_file({"odd": odd, "none": np.zeros((0, 3), np.float32)}, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.read("odd").tobytes() == odd.tobytes()
    assert checkpoint.read("none").shape == (0, 3)


def test_name_of_a_hub_snapshot(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "models--Org--Tiny-Model" / "snapshots" / ("0" * 40))
    assert open_checkpoint(folder).description == "Tiny-Model, float32 safetensors"


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors"]
)
def test_digest_follows_every_file_that_matters(tmp_path: Path, file: str) -> None:
    folder = write_tiny_model(tmp_path / "m")
    before = open_checkpoint(folder).digest()
    assert open_checkpoint(folder).digest() == before
    path = folder / file
    data = bytearray(path.read_bytes())
    if file.endswith(".json"):
        data += b"\n"
    else:
        data[-1] ^= 1
    path.write_bytes(data)
    assert open_checkpoint(folder).digest() != before


def test_digest_is_not_of_the_place(tmp_path: Path) -> None:
    one, two = (write_tiny_model(tmp_path / name) for name in ("a", "b"))
    assert open_checkpoint(one).digest() == open_checkpoint(two).digest()


# --- what is refused ---------------------------------------------------------------------------


def test_path_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "is not there")


def test_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "is not a model")


def test_folder_without_config(tmp_path: Path) -> None:
    refused(tmp_path, "no config.json")


@pytest.mark.parametrize("content", ["{", "[]", "\udcff", '{"a":' * 100_000], ids=range(4))
def test_damaged_config(tmp_path: Path, content: str) -> None:
    folder = write_tiny_model(tmp_path / "m")
    (folder / "config.json").write_text(content, errors="surrogateescape")
    refused(folder, "config.json")


def test_folder_without_weights(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    refused(folder, "neither model.safetensors nor")
    (folder / "pytorch_model.bin").write_bytes(b"")
    refused(folder, "pickles")


def test_missing_shard(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "names model-00002-of-00002.safetensors, which is missing")


def test_index_that_names_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", shards=2)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.extra"] = "model-00001-of-00002.safetensors"
    write_json(folder / INDEX, index)
    refused(folder, "model.extra")


@pytest.mark.parametrize(
    "placement",
    [None, {}, [], {"a": 3}, {"a": "../model.safetensors"}, {"a": "/etc/hostname"}],
    ids=["none", "empty", "list", "number", "outside", "absolute"],
)
def test_index_that_is_nonsense(tmp_path: Path, placement: object) -> None:
    folder = write_tiny_model(tmp_path / "m")
    write_json(folder / INDEX, {"weight_map": placement})
    refused(folder, INDEX)


def test_type_that_numpy_cannot_hold(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    write_raw(folder, {"x": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, b"1234")
    refused(folder, "F8_E4M3")


def test_cut_anywhere_is_one_clear_error(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", layers=1)
    path = folder / "model.safetensors"
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for cut in [*range(0, header, 11), *range(header, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:cut])
        refused(folder, "model.safetensors")


def test_longer_than_its_header_says(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")
    refused(folder, "model.safetensors")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 1 << 63]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1]},
        "nonsense",
    ],
    ids=["shape", "gap", "reversed", "negative", "overflow", "beyond", "type", "missing", "text"],
)
def test_lying_header(tmp_path: Path, entry: object) -> None:
    folder = write_tiny_model(tmp_path / "m")
    write_raw(folder, {"x": entry}, b"1234")
    refused(folder, "model.safetensors")


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1], ids=str)
def test_lying_header_length(tmp_path: Path, length: int) -> None:
    folder = write_tiny_model(tmp_path / "m")
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    refused(folder, "model.safetensors")


def test_file_that_shrinks_after_opening(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    checkpoint = open_checkpoint(folder)
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    outcomes = set()
    for name in checkpoint.names():
        try:
            checkpoint.read(name)
            outcomes.add("read")
        except InputError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


CHANGES: dict[str, Callable[[Path], object]] = {
    "written again": lambda path: path.write_bytes(path.read_bytes()),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "replaced": lambda path: replaced(path, path.stat()),
    "gone": Path.unlink,
}


def replaced(path: Path, before: os.stat_result) -> None:
    """Another file of the same content and time under the same name."""
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(path)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_weight_file_that_changes_after_opening_is_named(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    folder = write_tiny_model(tmp_path / "m", shards=2)
    os.utime(folder / "model-00002-of-00002.safetensors", ns=(0, 0))
    checkpoint = open_checkpoint(folder)
    checkpoint.digest()
    (folder / "README.md").write_text("new")
    assert checkpoint.changed() == ""
    change(folder / "model-00002-of-00002.safetensors")
    assert checkpoint.changed() == "model-00002-of-00002.safetensors"


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_tiny_model(tmp_path / "m"))
    with pytest.raises(InputError, match="no tensor nonsense"):
        checkpoint.shape("nonsense")


def write_raw(folder: Path, header: dict[str, object], data: bytes) -> None:
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def refused(path: Path, words: str) -> None:
    """Opening must fail with one error of one or two lines that names the file."""
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert words in message
    assert len(message.splitlines()) <= 2


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_model(tmp_path / "m")

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **named)

    real = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read \(Permission denied"):
        open_checkpoint(folder)
