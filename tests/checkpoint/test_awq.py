"""AWQ folders: read as the format defines them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.checkpoint.tiny_words import (
    Layer,
    Q,
    as_int32,
    by_the_engine,
    by_transformers,
    changed,
    configure,
    edit,
    random_layer,
    refused,
    write_folders,
)
from tests.tiny import Array, write_json
from tests.wide import LOST

from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.awq import parse_awq
from lichen.errors import InputError
from lichen.schemes import Scheme, dequantize
from lichen.tensor import QuantizedTensor

#: Which of eight outputs the places of a word belong to, lowest bits first.
PLACES = (0, 2, 4, 6, 1, 3, 5, 7)


def words_of(numbers: list[int]) -> list[int]:
    """The words of a row of numbers of 4 bits."""
    eights = [numbers[start : start + 8] for start in range(0, len(numbers), 8)]
    return [sum(eight[output] << 4 * i for i, output in enumerate(PLACES)) for eight in eights]


def store(layer: Layer) -> dict[str, Array]:
    return {
        "qweight": as_int32([words_of(row) for row in layer.codes.T.tolist()]),
        "qzeros": as_int32([words_of(row) for row in layer.zeros.tolist()]),
        "scales": layer.scales,
    }


def write_awq(
    folder: Path, size: int | None = 32, *, symmetric: bool = False, **tiny: Any
) -> tuple[Path, dict[str, Layer]]:
    def make(rng: np.random.Generator, shape: tuple[int, int]) -> Layer:
        return random_layer(rng, shape, 4, size, symmetric=symmetric)

    config = {"quant_method": "awq", "bits": 4, "group_size": size or -1, "version": "gemm"}
    config |= {"zero_point": True, "modules_to_not_convert": None}
    return write_folders(folder, make, store, config, **tiny)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_awq(tmp_path)[0]


# --- the numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero-points"])
@pytest.mark.parametrize("size", [32, 64, 128, None], ids=str)
def test_every_layer_is_what_its_words_say(tmp_path, size, symmetric):
    wide = {"hidden": 256, "intermediate": 128, "head_dim": 64, "layers": 1}
    folder, layers = write_awq(tmp_path, size, symmetric=symmetric, **wide)
    checkpoint = open_checkpoint(folder)
    for name, layer in layers.items():
        tensor = checkpoint.read(f"{name}.weight")
        assert isinstance(tensor, QuantizedTensor)
        np.testing.assert_array_equal(tensor.codes, layer.codes - 8)
        np.testing.assert_array_equal(tensor.scales, layer.scales.T)
        assert tensor.codes.flags.c_contiguous
        assert tensor.scales.flags.c_contiguous
        if symmetric:
            assert tensor.zeros is None
        else:
            np.testing.assert_array_equal(tensor.zeros, layer.zeros.T - 8)
        part = ("group", size) if len(layer.scales) > 1 else ("channel", None)
        assert tensor.scheme == Scheme(4, symmetric, *part, "float16")
        assert tensor.activations is None
        np.testing.assert_array_equal(dequantize(tensor), layer.weight)
        assert (checkpoint.dtype(f"{name}.weight"), checkpoint.shape(f"{name}.weight")) == (
            "I4",
            tensor.shape,
        )


CASES: dict[str, dict[str, Any]] = {
    "groups": {"tied": False},
    "rows": {"size": None, "model_type": "llama"},
    "symmetric": {"symmetric": True},
    "groups-of-64": {"size": 64, "hidden": 128, "intermediate": 256},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_logits_are_those_of_the_weights_in_floats(tmp_path, case):
    folder, _ = write_awq(tmp_path, **case)
    want = by_transformers(tmp_path / "plain")
    np.testing.assert_allclose(by_the_engine(folder), want, atol=LOST)


# --- the folder ------------------------------------------------------------------------------


def test_parts_of_a_layer_are_one_weight_and_all_else_is_as_it_is_stored(tmp_path):
    folder, _ = write_awq(tmp_path, tied=False)
    checkpoint = open_checkpoint(folder)
    plain = open_checkpoint(tmp_path / "plain")
    assert set(checkpoint.names()) == set(plain.names())
    assert checkpoint.description == (
        "quantized, float16 safetensors, int4 weights with zero points per group of 32,"
        " float activations (AWQ)"
    )
    for name in ("lm_head.weight", f"{Q}.bias", "model.norm.weight"):
        np.testing.assert_array_equal(checkpoint.read(name), plain.read(name))
        assert checkpoint.dtype(name) == "F32"


def test_a_config_in_autoawqs_own_file(tmp_path):
    folder, layers = write_awq(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    write_json(folder / "config.json", config)
    own = {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}
    write_json(folder / "quant_config.json", own)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config["quantization_config"] == {"quant_method": "awq"} | own
    tensor = checkpoint.read(f"{Q}.weight")
    np.testing.assert_array_equal(dequantize(tensor), layers[Q].weight)


def test_what_is_absent_means_what_it_means_to_autoawq():
    given = parse_awq({"quant_method": "awq", "modules_to_not_convert": ["lm_head"]})
    assert (given["bits"], given["group_size"], given["version"]) == (4, 128, "gemm")


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bits": 8}, "bits is 8 (lichen reads 4)"),
        ({"w_bit": 3}, "w_bit 3 contradicts bits 4"),
        ({"group_size": 16}, "group_size is 16 (lichen reads -1 or 32 or 64 or 128)"),
        ({"version": "gemv"}, "version is 'gemv' (lichen reads 'gemm')"),
        ({"version": "gemv_fast"}, "version is 'gemv_fast'"),
        ({"version": "marlin"}, "version is 'marlin'"),
        ({"format": "gemv"}, "format 'gemv' contradicts version 'gemm'"),
        ({"version": 4}, "version is 4"),
        ({"zero_point": "no"}, "zero_point is 'no'"),
        ({"desc_act": True}, "desc_act is True"),
        ({"backend": "llm-awq"}, "backend 'llm-awq' fills its words otherwise"),
        ({"dynamic": {"up": {"bits": 8}}}, "dynamic {'up': {'bits': 8}} is not supported"),
    ],
    ids=str,
)
def test_other_configs_are_refused(folder, changes, words):
    configure(folder, **changes)
    refused(folder, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{Q}.qzeros"), "q_proj.qzeros is missing"),
        (lambda t: t.pop(f"{Q}.scales"), "q_proj.scales is missing"),
        (changed("qweight", lambda w: w[:60]), "q_proj has 60 inputs, which groups of 32 do not"),
        (changed("qweight", lambda w: w[:32]), "qzeros is I32 [2, 8], not I32 [1, 8], for 64 x 32"),
        (changed("qweight", lambda w: w[:, :7]), "qzeros is I32 [2, 8], not I32 [2, 7], for 56 x"),
        (changed("qweight", lambda w: w.view(np.float32)), "qweight is F32 [64, 8], not I32"),
        (changed("qzeros", lambda w: w.T), "q_proj.qzeros is I32 [8, 2], not I32 [2, 8]"),
        (changed("scales", lambda s: s.T), "q_proj.scales is F16 [64, 2], not F32 or F16 or BF16"),
        (changed("scales", lambda s: s[..., None]), "q_proj.scales is F16 [2, 64, 1], not F32"),
    ],
)
def test_tensors_that_contradict_each_other_are_refused(folder, change, words):
    edit(folder, change)
    refused(folder, words)


def test_groups_that_the_words_do_not_have_are_refused(folder):
    configure(folder, group_size=64)
    refused(folder, "which groups of 64 do not fill")


def test_scales_that_are_not_finite_are_refused(folder):
    edit(folder, changed("scales", lambda scales: np.full_like(scales, np.inf)))
    with pytest.raises(InputError, match=r"q_proj\.scales has values that are not finite"):
        open_checkpoint(folder).read(f"{Q}.weight")
