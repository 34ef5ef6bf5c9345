"""Folders with trellis codes: written, read back by lichen alone, and refused where they lie."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file
from tests.quantize.test_calibrated import TEXT
from tests.quantize.test_pipeline import snapshot
from tests.tiny import write_json, write_tiny_model

from lichen.checkpoint import open_checkpoint
from lichen.engine.lowering import Rounding, lower
from lichen.errors import InputError
from lichen.export import export
from lichen.loading import Request, load
from lichen.quantize import quantize
from lichen.recipe import Calibration, load_recipe, parse_recipe
from lichen.reference import linear
from lichen.schemes import dequantize, trellis_row_bytes
from lichen.solvers import mse, native
from lichen.tensor import StoredTrellis, TrellisTensor

LAYERS = """
[[layers]]
match = "lm_head"
keep = true
[[layers]]
match = "*.k_proj"
weights = { bits = 8 }
activations = { bits = 8 }
[[layers]]
match = "*"
weights = { bits = 4, trellis = true }
activations = { bits = 8, granularity = "group" }
"""
PLAIN = parse_recipe(LAYERS + 'solver = "mse"\n', "plain")
SEEN = parse_recipe(LAYERS + 'solver = "gptq"\n', "seen")
UP = "model.layers.0.mlp.up_proj"


@pytest.fixture
def tiny(tmp_path) -> Path:
    """Rows of one whole group and of one that is short."""
    return write_tiny_model(tmp_path / "tiny", hidden=128, intermediate=160)


@pytest.fixture
def made(tiny, tmp_path) -> Path:
    return quantize(tiny, PLAIN, tmp_path / "made").path


def test_codes_come_back_as_they_were_chosen(tiny, made):
    before, after = open_checkpoint(tiny), open_checkpoint(made)
    assert set(before.names()) == set(after.names())
    for name in before.names():
        tensor = after.read(name)
        assert after.shape(name) == before.shape(name)
        if name.endswith("_proj.weight") and "k_proj" not in name:
            assert isinstance(tensor, TrellisTensor)
            chosen = mse.solve(before.read(name), tensor.scheme)
            np.testing.assert_array_equal(tensor.words, chosen.words)
            assert native.relative_error(before.read(name), tensor) < 0.006
            exact = after.read_exact(name)
            assert isinstance(exact, StoredTrellis)
            assert exact.shape == before.shape(name)


def test_others_refuse_what_they_do_not_know(tiny, tmp_path):
    report = quantize(tiny, PLAIN, tmp_path / "made")
    config = json.loads((report.path / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    assert config["format"] == "mixed-precision"
    formats = [group.get("format") for group in config["config_groups"].values()]
    assert formats == ["trellis-quantized", None]
    assert report.not_for_transformers == ("trellis codes",)
    with pytest.raises(ValueError, match="trellis-quantized"):  # not random weights
        transformers.AutoModelForCausalLM.from_pretrained(report.path)


def test_sizes_are_foretold(tiny, tmp_path):
    report = quantize(tiny, PLAIN, tmp_path / "made")
    manifest, stored = report.manifest, load_file(report.path / "model.safetensors")
    shapes = sum(t.nbytes for name, t in stored.items() if name.endswith("_shape"))
    assert sum(t.nbytes for t in stored.values()) == manifest.predicted_bytes + shapes
    assert shapes == 12 * 16
    up = next(layer for layer in manifest.layers if layer.name == UP)
    assert up.bits == 8 * trellis_row_bytes(128) / 128
    assert up.format == (
        "int4 trellis codes per group of 128, dynamic int8 activations per group of 128"
    )


def test_answers_are_the_same_from_the_file_and_from_memory(made, monkeypatch):
    requests = [Request("def f(x):", max_tokens=8), Request("class A", max_tokens=8)]
    first = dict(load(made).generate(requests))
    kind = type(open_checkpoint(made))
    monkeypatch.setattr(kind, "read_exact", kind.read)
    assert dict(load(made).generate(requests)) == first


def test_static_inputs_keep_their_scale(tiny, tmp_path):
    static = 'granularity = "tensor", dynamic = false'
    text = LAYERS.replace('granularity = "group"', static) + 'solver = "mse"\n'
    recipe = replace(parse_recipe(text, "static"), calibration=Calibration(sequences=4, length=64))
    path = quantize(tiny, recipe, tmp_path / "static", calibration=TEXT).path
    stored = {n: t for file in path.glob("*.safetensors") for n, t in load_file(file).items()}
    [scale] = stored[f"{UP}.input_scale"]
    tensor = open_checkpoint(path).read(f"{UP}.weight")
    assert isinstance(tensor, TrellisTensor)
    assert tensor.input_scale == scale > 0
    x = np.random.default_rng(0).standard_normal((3, 128), np.float32)
    rounded = np.clip(np.rint(x / scale), -128, 127) * scale
    np.testing.assert_allclose(linear(x, tensor), rounded @ dequantize(tensor).T, atol=1e-4)
    assert lower(tensor).rounding == Rounding(scale, 0)
    assert len(dict(load(path).generate([Request("def f(x):", max_tokens=4)]))) == 1


def test_a_run_that_sees_inputs_comes_nearer_and_is_repeatable(tiny, tmp_path):
    recipe = replace(SEEN, calibration=Calibration(sequences=4, length=64))
    first = quantize(tiny, recipe, tmp_path / "first", calibration=TEXT)
    again = quantize(tiny, recipe, tmp_path / "again", calibration=TEXT, threads=1)
    plain = quantize(
        tiny,
        parse_recipe(LAYERS + 'solver = "mse"\n[calibration]\nsequences = 4\nlength = 64\n', "x"),
        tmp_path / "plain",
    )
    assert snapshot(first.path) == snapshot(again.path)
    errors = {layer.name: layer.error for layer in plain.manifest.layers}
    assert all(layer.error < 3 * errors[layer.name] for layer in first.manifest.layers)
    assert any(layer.error != errors[layer.name] for layer in first.manifest.layers)


@pytest.mark.parametrize("name", ["int4", "int4-gptq"])
def test_the_presets_make_a_model_that_answers(tiny, tmp_path, name):
    recipe = replace(load_recipe(name), calibration=Calibration(sequences=2, length=32))
    path = quantize(tiny, recipe, tmp_path / "made", calibration=TEXT).path
    answers = dict(load(path).generate([Request("def f(x):", max_tokens=4)]))
    assert len(answers) == 1


def test_weights_of_trellis_codes_are_exported_as_they_are(made, tmp_path):
    report = export(made, tmp_path / "made.gguf")
    kept = {t.name: t for t in report.tensors if t.how == "codes"}
    assert len(kept) == 14
    assert {t.type for t in kept.values()} == {"Q8_0"}
    assert all(t.error == 0 for name, t in kept.items() if "k_proj" not in name)


# --- what is wrong with a folder ---------------------------------------------------------------


def changed(folder: Path, change) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def fault(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    return str(caught.value)


def test_rows_that_are_too_short_are_named(made):
    name = f"{UP}.weight_trellis"
    folder = changed(made, lambda t: t.update({name: np.ascontiguousarray(t[name][:, :-1])}))
    assert f"{name} is U8 [160, 70], not U8 [160, 71], for 160 x 128" in fault(folder)


def test_a_shape_that_is_missing_or_lies_is_named(made):
    name = f"{UP}.weight_shape"
    changed(made, lambda t: t.update({name: np.array([160, 100])}))
    assert "160 x 100, which groups of 32 columns do not fill" in fault(made)
    changed(made, lambda t: t.pop(name))
    assert f"{name}, which says rows and columns, is missing" in fault(made)


def test_trellis_codes_of_another_kind_are_refused(made):
    config = json.loads((made / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 3
    write_json(made / "config.json", config)
    assert "trellis codes have 4 bits in symmetric groups of 128" in fault(made)


def test_codes_that_nobody_asked_for_are_named(made):
    config = json.loads((made / "config.json").read_text())
    config["quantization_config"]["ignore"].append(UP)
    write_json(made / "config.json", config)
    said = f"{UP}.weight_trellis is there, but quantization_config gives it no trellis codes"
    assert said in fault(made)


def test_a_file_that_ends_too_soon_is_refused(made):
    file = made / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "model.safetensors" in fault(made)


# --- what a recipe may not ask -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("weights = { bits = 3, trellis = true }", "bits is 3, but trellis codes have 4"),
        (
            "weights = { bits = 4, trellis = true, group_size = 64 }",
            "group_size is 64, but trellis codes have 128",
        ),
        (
            "weights = { bits = 4, trellis = true, symmetric = false }",
            "symmetric is false, but trellis codes have true",
        ),
        (
            'weights = { bits = 4, trellis = true }\nsolver = "hqq"',
            "solver is hqq; trellis codes need mse or gptq",
        ),
        ("weights = { bits = 4, trellis = true }", "solver is absmax; trellis codes need"),
        (
            'weights = { bits = 4, trellis = true }\nsolver = "mse"\nscaling = "awq"',
            "has a scaling, which does not know trellis codes",
        ),
        (
            'weights = { bits = 4, trellis = true }\nsolver = "gptq"\n'
            "solver_options = { act_order = true }",
            "act_order in layers[1].solver_options is not for trellis codes",
        ),
    ],
)
def test_contradictions_are_named(table, said):
    with pytest.raises(InputError) as caught:
        parse_recipe(f'[[layers]]\nmatch = "*"\n{table}\n', "mine")
    assert said in str(caught.value)


def test_rows_of_no_whole_32_columns_are_refused(tmp_path):
    tiny = write_tiny_model(tmp_path / "tiny", hidden=64, intermediate=48)
    with pytest.raises(InputError, match="48 inputs, not whole groups of 32"):
        quantize(tiny, PLAIN, tmp_path / "made")
