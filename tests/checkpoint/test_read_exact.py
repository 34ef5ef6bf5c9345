"""Weights that are left in their files: which are, and that they are packed as they are read."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.tiny import write_tiny_model

from lichen import _core
from lichen.checkpoint import Checkpoint, open_checkpoint, safetensors_folder
from lichen.engine.lowering import lower
from lichen.errors import InputError
from lichen.quantize import quantize
from lichen.read_ahead import ReadAhead
from lichen.recipe import parse_recipe
from lichen.tensor import AnyTensor, BlockTensor, QuantizedTensor, StoredFloats, StoredTensor

POOL = _core.ThreadPool(2)
QUERY, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"


def packed(tensor: AnyTensor) -> np.ndarray:
    """The rows of a weight as the engine has them."""
    kernel = lower(tensor)
    weight = kernel.weight
    linear = _core.Linear(
        POOL, np.ascontiguousarray(weight) if isinstance(weight, np.ndarray) else weight,
        kernel.dtype, kernel.scales, None, "portable", kernel.zeros, kernel.shifts,
        kernel.input_scale, kernel.input_group,
    )  # fmt: skip
    return np.stack([linear.dequantize_row(row) for row in range(linear.rows)])


def require_same(checkpoint: Checkpoint, kind: type) -> None:
    exact = checkpoint.read_exact(UP)
    assert type(exact) is kind
    assert exact.shape == checkpoint.shape(UP)
    np.testing.assert_array_equal(packed(exact), packed(checkpoint.read(UP)))


@pytest.mark.parametrize(
    ("weights", "activations", "kind"),
    [
        ("bits = 8", "bits = 8", StoredTensor),
        ("bits = 8", None, QuantizedTensor),
        ("bits = 4, group_size = 32", "bits = 8", StoredTensor),
        ("bits = 4, group_size = 32", None, StoredTensor),
        ('bits = 4, granularity = "channel"', "bits = 8", StoredTensor),
        ("bits = 4, group_size = 32, symmetric = false", None, QuantizedTensor),
        ("bits = 3, group_size = 32", None, QuantizedTensor),
        ("bits = 6, group_size = 32", None, QuantizedTensor),
        ("bits = 5, group_size = 32, symmetric = false", None, QuantizedTensor),
    ],
)
def test_folders(tmp_path: Path, weights: str, activations: str | None, kind: type) -> None:
    text = f'[[layers]]\nmatch = "*_proj"\nweights = {{ {weights} }}\n'
    text += "" if activations is None else f"activations = {{ {activations} }}\n"
    text += '[[layers]]\nmatch = "*"\nkeep = true\n'
    out = tmp_path / "out"
    quantize(write_tiny_model(tmp_path / "tiny"), parse_recipe(text, "mine"), out)
    require_same(open_checkpoint(out), kind)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_floats(tmp_path: Path, dtype: str) -> None:
    checkpoint = open_checkpoint(write_tiny_model(tmp_path / "tiny", dtype=dtype))
    require_same(checkpoint, StoredFloats)
    assert isinstance(checkpoint.read_exact("model.norm.weight"), np.ndarray)


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
@pytest.mark.parametrize("kind", [GgmlType.F32, GgmlType.F16, GgmlType.Q8_0, GgmlType.Q5_1])
def test_gguf(tmp_path: Path, model_type: str, kind: GgmlType) -> None:
    """Llama's queries, whose rows are in another order there, are read at once."""
    folder = write_tiny_model(tmp_path / "hf", model_type)
    checkpoint = open_checkpoint(write_tiny_gguf(tmp_path / "tiny.gguf", folder, kind=kind))
    for name in (QUERY, UP):
        exact, permuted = checkpoint.read_exact(name), model_type == "llama" and name == QUERY
        if kind in (GgmlType.F32, GgmlType.F16):
            assert type(exact) is (np.ndarray if permuted else StoredFloats)
        else:
            assert isinstance(exact, BlockTensor)
            assert isinstance(exact.data, np.ndarray if permuted else _core.FileRows)
        want = np.asarray(checkpoint.read(name), np.float32)
        np.testing.assert_allclose(packed(exact), want, rtol=2**-22, atol=2**-22 * abs(want).max())


def test_a_folder_whose_file_is_another_one_by_now_is_refused(tmp_path: Path, monkeypatch) -> None:
    """The header is read once by the library, and once for the places of tensors."""
    folder = write_tiny_model(tmp_path / "tiny")
    opened = safetensors_folder._open_shard

    others: list[bytes] = []

    def replaced(path: Path):
        shard = opened(path)
        path.write_bytes(others[-1])
        return shard

    monkeypatch.setattr(safetensors_folder, "_open_shard", replaced)
    whole = (folder / "model.safetensors").read_bytes()
    for other in (b"", b"\xff" * 100, whole[:8] + b"[" + whole[9:], whole.replace(b"[", b" ", 3)):
        others.append(other)
        with pytest.raises(InputError, match=r"changed while it was being opened"):
            open_checkpoint(folder)
        (folder / "model.safetensors").write_bytes(whole)


def test_reading_ahead_keeps_the_order_and_the_errors() -> None:
    read: list[str] = []

    def weight(name: str) -> int:
        read.append(name)
        if name == "bad":
            raise InputError("bad")
        return len(read)

    with ReadAhead(weight, ["a", "b", "large", "c", "bad"], {"large"}) as ahead:
        assert ahead.read("a") == 1
        assert ahead.read("b") == 2
        assert read == ["a", "b"]  # a large one waits until it is asked for
        assert ahead.read("large") == 3
        assert ahead.read("a") in (4, 5)  # out of order
        assert ahead.read("c") > 0
        with pytest.raises(InputError, match="bad"):
            ahead.read("bad")
