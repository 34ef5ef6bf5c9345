"""Large weights are quantized in pieces of rows: the same folder, without the whole in floats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.quantize.test_pipeline import snapshot
from tests.tiny import write_tiny_model

from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.pieces import read_rows
from lichen.errors import InputError
from lichen.quantize import pieces, quantize
from lichen.recipe import parse_recipe
from lichen.tensor import BlockTensor, StoredFloats

UP = "model.layers.0.mlp.up_proj.weight"
RECIPES = {
    "int8": 'weights = { bits = 8 }\nactivations = { bits = 8 }\nsolver = "mse"',
    "int4": 'weights = { bits = 4, group_size = 32 }\nsolver = "mse"',
    "zeros": "weights = { bits = 4, group_size = 32, symmetric = false }",
    "hqq": 'weights = { bits = 3, group_size = 32 }\nsolver = "hqq"',
    "trellis": 'weights = { bits = 4, trellis = true }\nsolver = "mse"',
    "tensor": 'weights = { bits = 8, granularity = "tensor" }',
}


def recipe(kind: str, *, rotate: bool = False) -> Any:
    table = f'[[layers]]\nmatch = "*"\n{RECIPES[kind]}\n'
    embedding = "[embedding]\nweights = { bits = 8 }\n"
    return parse_recipe(("rotate = true\n" if rotate else "") + embedding + table, kind)


@pytest.fixture(params=["folder", "bfloat16", "Q8_0", "llama, Q8_0", "quantized"])
def source(request, tmp_path) -> Path:
    llama = request.param.startswith("llama")
    dtype = "bfloat16" if request.param == "bfloat16" else "float32"
    folder = write_tiny_model(tmp_path / "tiny", "llama" if llama else "qwen2", dtype=dtype)
    if request.param.endswith("Q8_0"):
        return write_tiny_gguf(tmp_path / "tiny.gguf", folder, kind=GgmlType.Q8_0)
    if request.param == "quantized":
        return quantize(folder, recipe("int8"), tmp_path / "first").path
    return folder


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("rotate", [False, True], ids=["", "rotated"])
def test_a_folder_made_in_pieces_is_the_same(source, kind, rotate, tmp_path, monkeypatch):
    made = recipe(kind, rotate=rotate)
    quantize(source, made, tmp_path / "whole", requantize=True)
    monkeypatch.setattr(pieces, "LARGE_ELEMENTS", 0)
    monkeypatch.setattr(pieces, "_PIECE_ELEMENTS", 700)  # not a multiple of any width
    calls = []
    solved = pieces.solved
    monkeypatch.setattr(pieces, "solved", lambda *a, **k: calls.append(1) or solved(*a, **k))
    quantize(source, made, tmp_path / "pieces", requantize=True)
    assert snapshot(tmp_path / "pieces") == snapshot(tmp_path / "whole")
    assert (len(calls) > 100) == (kind != "tensor"), "rows share no scale, so they come in pieces"


def test_a_weight_that_is_not_finite_is_named(tmp_path, monkeypatch):
    folder = write_tiny_model(tmp_path / "tiny", "qwen2")
    monkeypatch.setattr(pieces, "LARGE_ELEMENTS", 0)
    monkeypatch.setattr(pieces, "_PIECE_ELEMENTS", 700)
    whole = read_rows

    def with_nan(stored, begin, end):
        rows = np.array(whole(stored, begin, end))
        rows[-1, -1] = np.nan
        return rows

    monkeypatch.setattr(pieces, "read_rows", with_nan)
    with pytest.raises(InputError, match=r"weight: weights are not finite"):
        quantize(folder, recipe("int8"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [GgmlType.F16, GgmlType.Q8_0, GgmlType.Q5_1])
def test_rows_of_a_gguf_are_those_of_all(kind, tmp_path):
    folder = write_tiny_model(tmp_path / "tiny", "qwen2")
    checkpoint = open_checkpoint(write_tiny_gguf(tmp_path / "tiny.gguf", folder, kind=kind))
    stored, whole = checkpoint.read_exact(UP), checkpoint.read(UP)
    assert isinstance(stored, StoredFloats | BlockTensor)
    for begin, end in ((0, 1), (3, 17), (0, len(whole)), (len(whole) - 1, len(whole))):
        rows = read_rows(stored, begin, end)
        assert rows.dtype == whole.dtype
        np.testing.assert_array_equal(rows, whole[begin:end])


def test_a_file_that_became_shorter_is_told_of(tmp_path):
    path = write_tiny_model(tmp_path / "tiny", "qwen2")
    stored = open_checkpoint(path).read_exact(UP)
    assert isinstance(stored, StoredFloats)
    with (path / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(InputError, match=r"shorter than it says"):
        read_rows(stored, 0, 2)


_RUN = """
import sys
from pathlib import Path
from lichen.measure.timing import peak_memory_bytes
from lichen.quantize import pieces, quantize
from lichen.recipe import load_recipe
small, wide = map(Path, sys.argv[1:3])
pieces.LARGE_ELEMENTS = int(sys.argv[3])
quantize(small, load_recipe("int8"), Path(f"{small}-out"), force=True)
before = peak_memory_bytes()
quantize(wide, load_recipe("int8"), Path(f"{wide}-out"), force=True)
print(peak_memory_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")
def test_an_embedding_is_not_in_memory_in_floats(tmp_path):
    sizes = {"vocab": 100_000, "hidden": 256, "tied": False}
    folder = write_tiny_model(tmp_path / "hf", "qwen2", **sizes)
    wide = write_tiny_gguf(tmp_path / "wide.gguf", folder, kind=GgmlType.Q8_0)
    small = write_tiny_model(tmp_path / "small", "qwen2")
    table = sizes["vocab"] * sizes["hidden"]

    def grown(large: int) -> int:
        command = [sys.executable, "-c", _RUN, *map(str, (small, wide, large))]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    assert grown(table) - grown(table - 1) > 2 * table, "floats take four bytes"
