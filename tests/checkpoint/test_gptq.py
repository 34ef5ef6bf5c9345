"""GPTQ folders: read as the format defines them, in whatever order their columns are."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tests.checkpoint.tiny_words import (
    DOWN,
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
from lichen.checkpoint.gptq import GptqFormat, parse_gptq
from lichen.checkpoint.info import model_info
from lichen.errors import InputError
from lichen.export import export
from lichen.quantize import quantize
from lichen.recipe import parse_recipe
from lichen.schemes import Scheme, dequantize
from lichen.tensor import QuantizedTensor

#: What AutoGPTQ wrote into ``quantize_config.json`` in 2023.
AUTO_GPTQ = {
    "bits": 4,
    "group_size": 128,
    "damp_percent": 0.01,
    "desc_act": False,
    "static_groups": False,
    "sym": True,
    "true_sequential": True,
    "model_name_or_path": None,
    "model_file_base_name": None,
}
#: What GPTQModel 5 writes into config.json.
GPTQ_MODEL = {
    "bits": 4,
    "checkpoint_format": "gptq_v2",
    "desc_act": False,
    "dynamic": {"-:.*lm_head": {}},
    "format": "gptq_v2",
    "group_size": -1,
    "lm_head": False,
    "meta": {"quantizer": ["gptqmodel:5.6.0"], "uri": "https://example.org", "mse": 0.0},
    "method": "gptq",
    "pack_dtype": "int32",
    "quant_method": "gptq",
    "sym": False,
}


# --- the format, spelled out -----------------------------------------------------------------

#: Of 32 codes of 3 bits: word, place in it, and how many low bits are left to the word before.
THREE = [(0, 3 * i, 0) for i in range(10)] + [(0, 30, 0), (1, 0, 2)]
THREE += [(1, 1 + 3 * i, 0) for i in range(10)] + [(1, 31, 0), (2, 0, 1)]
THREE += [(2, 2 + 3 * i, 0) for i in range(10)]
#: The code that each of these places belongs to; those across two words have two.
OWNERS = [*range(11), 10, *range(11, 22), 21, *range(22, 32)]


def words_of(codes: list[int], bits: int) -> list[int]:
    """The words of codes that lie one after the other."""
    if bits != 3:
        per = 32 // bits
        runs = [codes[start : start + per] for start in range(0, len(codes), per)]
        return [sum(code << (bits * i) for i, code in enumerate(run)) for run in runs]
    words = []
    for start in range(0, len(codes), 32):
        three = [0, 0, 0]
        for owner, (word, place, skipped) in zip(OWNERS, THREE, strict=True):
            three[word] |= (codes[start + owner] >> skipped) << place & 0xFFFFFFFF
        words += three
    return words


def zero_words(zeros: list[int], bits: int, less_one: bool) -> list[int]:
    """Zero points of a group: in v1 GPTQModel subtracts one in every place of whole words."""
    if not less_one:
        return words_of(zeros, bits)
    if bits == 3:
        return words_of([(zero - 1) % 8 for zero in zeros], bits)
    ones = words_of([1] * (32 // bits), bits)[0]
    return [(word - ones) % (1 << 32) for word in words_of(zeros, bits)]


def store(layer: Layer, *, less_one: bool, g_idx: bool = True) -> dict[str, Array]:
    codes, zeros = layer.codes.tolist(), layer.zeros.tolist()
    parts = {
        "qweight": as_int32([words_of(row, layer.bits) for row in codes]).T.copy(),
        "qzeros": as_int32([zero_words(row, layer.bits, less_one) for row in zeros]),
        "scales": layer.scales,
    }
    return parts | ({"g_idx": layer.groups.astype(np.int32)} if g_idx else {})


def write_gptq(
    folder: Path,
    bits: int = 4,
    size: int | None = 32,
    *,
    symmetric: bool = True,
    version: str = "gptq",
    shuffled: bool = False,
    g_idx: bool = True,
    scale_type: Any = np.float16,
    **tiny: Any,
) -> tuple[Path, dict[str, Layer]]:
    def make(rng: np.random.Generator, shape: tuple[int, int]) -> Layer:
        return random_layer(
            rng, shape, bits, size, symmetric=symmetric, shuffled=shuffled, scale_type=scale_type
        )

    config = {"quant_method": "gptq", "bits": bits, "group_size": size or -1, "sym": symmetric}
    config |= {"desc_act": shuffled, "checkpoint_format": version}
    stored = partial(store, less_one=version == "gptq", g_idx=g_idx)
    return write_folders(folder, make, stored, config, **tiny)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_gptq(tmp_path)[0]


# --- the numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero-points"])
@pytest.mark.parametrize("size", [32, None], ids=["groups", "rows"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_layer_is_what_its_words_say(tmp_path, bits, size, symmetric, version):
    folder, layers = write_gptq(tmp_path, bits, size, symmetric=symmetric, version=version)
    checkpoint = open_checkpoint(folder)
    part = "group" if size else "channel"
    for name, layer in layers.items():
        tensor = checkpoint.read(f"{name}.weight")
        assert isinstance(tensor, QuantizedTensor)
        middle = 1 << (bits - 1)
        np.testing.assert_array_equal(tensor.codes, layer.codes - middle)
        np.testing.assert_array_equal(tensor.scales, layer.scales.T)
        if symmetric:
            assert tensor.zeros is None
        else:
            np.testing.assert_array_equal(tensor.zeros, layer.zeros.T - middle)
        assert tensor.scheme == Scheme(bits, symmetric, part, size, "float16")
        assert tensor.activations is None
        np.testing.assert_array_equal(dequantize(tensor), layer.weight)
        assert checkpoint.dtype(f"{name}.weight") == f"I{bits}"
        assert checkpoint.shape(f"{name}.weight") == tensor.shape


CASES: dict[str, dict[str, Any]] = {
    "symmetric": {"tied": False},
    "zero-points": {"symmetric": False},
    "three-bits": {"bits": 3, "symmetric": False, "version": "gptq_v2"},
    "two-bits": {"bits": 2, "size": 32, "symmetric": False},
    "eight-bits-in-rows": {"bits": 8, "size": None},
    "groups-of-64": {"size": 64, "hidden": 128, "intermediate": 256, "model_type": "llama"},
    "without-g_idx": {"g_idx": False},
    "activation-order": {"shuffled": True, "symmetric": False},
    "activation-order-in-three-bits": {"shuffled": True, "bits": 3},
    "bfloat16-scales": {"shuffled": True, "scale_type": ml_dtypes.bfloat16},
    "a-last-group-that-is-short": {"size": 64},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_logits_are_those_of_the_weights_in_floats(tmp_path, case):
    folder, layers = write_gptq(tmp_path, **case)
    floats = {f"{name}.weight": stands_for(layer) for name, layer in layers.items()}
    edit(tmp_path / "plain", lambda tensors: tensors.update(floats))
    want = by_transformers(tmp_path / "plain")
    np.testing.assert_allclose(by_the_engine(folder), want, atol=LOST)


def stands_for(layer: Layer) -> Array:
    """A weight whose groups are no runs of columns is read in the float16 of its scales."""
    widths = np.bincount(layer.groups)
    in_runs = (np.diff(layer.groups) >= 0).all() and (widths == widths[0]).all()
    if in_runs or layer.scales.dtype != np.float16:
        return layer.weight
    return layer.weight.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize(
    ("scale_type", "dtype"), [(np.float16, "F16"), (np.float32, "F32"), (ml_dtypes.bfloat16, "F32")]
)
def test_activation_order_reads_as_floats_rounded_once(tmp_path, scale_type, dtype):
    folder, layers = write_gptq(tmp_path, shuffled=True, symmetric=False, scale_type=scale_type)
    checkpoint = open_checkpoint(folder)
    for name, layer in layers.items():
        weight = checkpoint.read(f"{name}.weight")
        assert checkpoint.dtype(f"{name}.weight") == dtype
        assert weight.dtype == (np.float16 if dtype == "F16" else np.float32)
        np.testing.assert_array_equal(weight, layer.weight.astype(weight.dtype))
    assert "int4 weights in activation order, dequantized (GPTQ)" in checkpoint.description


def test_groups_that_are_runs_of_columns_in_another_order_stay_quantized(tmp_path):
    def make(rng: np.random.Generator, shape: tuple[int, int]) -> Layer:
        layer = random_layer(rng, shape, 4, 32, symmetric=False)
        return Layer(4, layer.codes, layer.zeros, layer.scales, layer.groups[::-1].copy())

    config = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}
    folder, layers = write_folders(tmp_path, make, partial(store, less_one=True), config)
    tensor = open_checkpoint(folder).read(f"{Q}.weight")
    assert isinstance(tensor, QuantizedTensor)
    np.testing.assert_array_equal(dequantize(tensor), layers[Q].weight)


def test_groups_as_wide_as_a_row_are_rows(tmp_path):
    folder, layers = write_gptq(tmp_path, size=128)
    tensor = open_checkpoint(folder).read(f"{DOWN}.weight")
    assert tensor.scheme == Scheme(4, True, "channel", None, "float16")
    np.testing.assert_array_equal(dequantize(tensor), layers[DOWN].weight)


def test_symmetric_zero_points_that_were_not_lessened_are_in_the_middle(tmp_path):
    """As some writers have them, whatever the format that they name."""
    folder, layers = write_gptq(tmp_path, version="gptq_v2")
    configure(folder, checkpoint_format="gptq")
    tensor = open_checkpoint(folder).read(f"{Q}.weight")
    assert tensor.zeros is None
    np.testing.assert_array_equal(dequantize(tensor), layers[Q].weight)
    configure(folder, sym=False)
    assert (open_checkpoint(folder).read(f"{Q}.weight").zeros == 1).all()


@pytest.mark.parametrize("shuffled", [False, True], ids=["in-order", "activation-order"])
def test_a_folder_is_quantized_again_and_exported_as_what_it_stands_for(tmp_path, shuffled):
    folder, layers = write_gptq(tmp_path, shuffled=shuffled)
    recipe = parse_recipe('[[layers]]\nmatch = "*.layers.*"\nweights = { bits = 8 }', "mine")
    with pytest.raises(InputError, match="--requantize"):
        quantize(folder, recipe, tmp_path / "again")
    quantize(folder, recipe, tmp_path / "again", requantize=True)
    again = open_checkpoint(tmp_path / "again").read(f"{Q}.weight")
    step = again.scales.max()
    np.testing.assert_allclose(dequantize(again), stands_for(layers[Q]), atol=0.51 * step)
    report = export(folder, tmp_path / "model.gguf")
    hows = {tensor.how for tensor in report.tensors if tensor.name.endswith("proj.weight")}
    assert hows == ({"rounded"} if shuffled else {"codes"})
    if not shuffled:
        exported = by_the_engine(tmp_path / "model.gguf")
        np.testing.assert_allclose(exported, by_the_engine(folder), atol=2e-4)


# --- the folder ------------------------------------------------------------------------------


def test_parts_of_a_layer_are_one_weight_and_all_else_is_as_it_is_stored(tmp_path):
    folder, layers = write_gptq(tmp_path, bits=3, symmetric=False, tied=False)
    checkpoint = open_checkpoint(folder)
    plain = open_checkpoint(tmp_path / "plain")
    assert set(checkpoint.names()) == set(plain.names())
    assert checkpoint.description == (
        "quantized, float16 safetensors, int3 weights with zero points per group of 32,"
        " float activations (GPTQ)"
    )
    head, bias = "lm_head.weight", f"{Q}.bias"
    for name in (head, bias, "model.norm.weight"):
        np.testing.assert_array_equal(checkpoint.read(name), plain.read(name))
        assert checkpoint.dtype(name) == "F32"
    info = model_info(checkpoint)
    assert info.parameters == model_info(plain).parameters
    assert info.dtypes["I3"] == sum(layer.codes.size for layer in layers.values())
    assert checkpoint.changed() == ""
    edit(folder, lambda tensors: None)
    assert checkpoint.changed() == "model.safetensors"


def test_a_config_in_a_file_of_its_own(tmp_path):
    folder, layers = write_gptq(tmp_path, size=128)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    write_json(folder / "config.json", config)
    with pytest.raises(
        InputError, match=r"down_proj\.qweight is quantized, but neither config\.json"
    ):
        open_checkpoint(folder)
    write_json(folder / "quantize_config.json", AUTO_GPTQ)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config["quantization_config"] == {"quant_method": "gptq"} | AUTO_GPTQ
    tensor = checkpoint.read(f"{Q}.weight")
    np.testing.assert_array_equal(dequantize(tensor), layers[Q].weight)
    before = checkpoint.digest()
    write_json(folder / "quantize_config.json", AUTO_GPTQ | {"damp_percent": 0.1})
    assert open_checkpoint(folder).digest() != before, "it says what the words mean"


def test_a_plain_folder_may_have_such_a_file_too(tmp_path):
    write_gptq(tmp_path)
    write_json(tmp_path / "plain" / "quantize_config.json", AUTO_GPTQ)
    assert "quantization_config" not in open_checkpoint(tmp_path / "plain").config


def test_configs_of_known_writers():
    assert parse_gptq(AUTO_GPTQ) == GptqFormat(4, 128, True, True)
    assert parse_gptq(GPTQ_MODEL) == GptqFormat(4, None, False, False)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bits": 5}, "bits is 5 (lichen reads 2 or 3 or 4 or 8)"),
        ({"bits": True}, "bits is True"),
        ({"bits": "4"}, "bits is '4'"),
        ({"group_size": 48}, "group_size is 48 (lichen reads -1 or 32 or 64 or 128)"),
        ({"group_size": None}, "group_size is None"),
        ({"sym": "yes"}, "sym is 'yes' (lichen reads True or False)"),
        ({"checkpoint_format": "marlin"}, "format is 'marlin' (lichen reads 'gptq' or 'gptq_v2')"),
        ({"format": "gptq_v2"}, "checkpoint_format and format contradict each other"),
        ({"is_marlin_format": True}, "is_marlin_format True is not supported"),
        ({"pack_dtype": "int16"}, "pack_dtype is 'int16'"),
        ({"rotation": "hadamard"}, "rotation 'hadamard' is not supported"),
        ({"dynamic": {"-:a": {}, "+:.*up": {"bits": 8}}}, "layers like '+:.*up' a format of their"),
        ({"dynamic": {".*up": {"bits": 8}}}, "layers like '.*up' a format of their own"),
        ({"dynamic": "no"}, "layers like 'no' a format of their own"),
        ({"quant_method": "marlin"}, "quant_method 'marlin' is not supported"),
        ({"quant_method": None}, "quant_method None is not supported"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_configs_are_refused(folder, changes, words):
    configure(folder, **changes)
    refused(folder, words)


def test_every_fault_of_a_config_is_named():
    with pytest.raises(InputError) as caught:
        parse_gptq({"bits": 9, "group_size": 7, "colour": "green", "inert": None})
    for words in ("bits is 9", "group_size is 7", "colour 'green' is not supported"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{Q}.qzeros"), "q_proj.qzeros is missing"),
        (lambda t: t.pop(f"{Q}.scales"), "q_proj.scales is missing"),
        (
            changed("qweight", lambda w: w[:7]),
            "g_idx is I32 [64], not I32 or I64 [56], for 64 x 56",
        ),
        (changed("qweight", lambda w: w[:4]), "qzeros is I32 [2, 8], not I32 [1, 8]"),
        (changed("qweight", lambda w: w[:, :32]), "scales is F16 [2, 64], not F32 or F16 or BF16"),
        (changed("qweight", lambda w: w[0]), "q_proj.qweight has shape [64], not rows and columns"),
        (changed("qweight", lambda w: w[:0]), "q_proj.qweight has shape [0, 64], not rows and"),
        (changed("qweight", lambda w: w.astype(np.int64)), "qweight is I64 [8, 64], not I32"),
        (changed("qzeros", lambda w: w[:1]), "q_proj.qzeros is I32 [1, 8], not I32 [2, 8]"),
        (changed("qzeros", lambda w: w.view(np.float32)), "q_proj.qzeros is F32 [2, 8], not I32"),
        (changed("scales", lambda s: s.T), "q_proj.scales is F16 [64, 2], not F32 or F16 or BF16"),
        (changed("scales", lambda s: s.view(np.int16)), "q_proj.scales is I16 [2, 64], not F32"),
        (changed("g_idx", lambda g: g[1:]), "q_proj.g_idx is I32 [63], not I32 or I64 [64]"),
        (changed("g_idx", lambda g: g + 1), "q_proj.g_idx names groups that are not among the 2"),
        (changed("g_idx", lambda g: g - 1), "q_proj.g_idx names groups that are not among the 2"),
        (lambda t: t.update({f"{Q}.weight": np.zeros((64, 64))}), "q_proj is stored twice"),
        (
            lambda t: [t.pop(n) for n in list(t) if n.endswith(".qweight")],
            "quantization_config says GPTQ, but no layer has a qweight",
        ),
    ],
)
def test_tensors_that_contradict_each_other_are_refused(folder, change, words):
    edit(folder, change)
    refused(folder, words)


def test_three_bits_fill_three_words(tmp_path):
    folder, _ = write_gptq(tmp_path, bits=3)
    edit(folder, changed("qweight", lambda words: words[:5]))
    refused(folder, "q_proj.qweight has 5 rows, which codes of 3 bits do not fill")


def test_a_config_of_other_bits_contradicts_the_words(folder):
    configure(folder, bits=8)
    refused(folder, "down_proj.g_idx is I32 [96], not I32 or I64 [48], for 64 x 48 in groups of")


def test_few_of_many_faults_are_named(folder):
    configure(folder, group_size=64)
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    assert str(caught.value).endswith("; and 39 more.")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("shuffled", [False, True], ids=["in-order", "activation-order"])
def test_scales_that_are_not_finite_are_refused(tmp_path, value, shuffled):
    folder, _ = write_gptq(tmp_path, shuffled=shuffled)
    edit(folder, changed("scales", lambda scales: np.full_like(scales, value)))
    with pytest.raises(InputError, match=r"q_proj\.scales has values that are not finite"):
        open_checkpoint(folder).read(f"{Q}.weight")


def test_weights_beyond_float16_are_refused(tmp_path):
    folder, _ = write_gptq(tmp_path, shuffled=True)
    edit(folder, changed("scales", lambda scales: np.full_like(scales, 60000)))
    with pytest.raises(InputError, match=r"q_proj\.weight has values that float16 does not hold"):
        open_checkpoint(folder).read(f"{Q}.weight")


def test_a_file_that_was_cut_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(folder, "model.safetensors: is not a whole safetensors file")
