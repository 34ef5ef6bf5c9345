"""Weights that calibrated recipes cannot use: one error with their name, and nothing left over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.quantize.test_calibrated import RECIPES, TEXT
from tests.quantize.test_pipeline import set_weight
from tests.tiny import write_tiny_model, write_weights

from lichen.errors import InputError
from lichen.quantize import quantize
from lichen.recipe import Calibration, Recipe, load_recipe, parse_recipe

BLOCK = "model.layers.1"
BAD = {
    "q_proj": f"{BLOCK}.self_attn.q_proj.weight",
    "down_proj": f"{BLOCK}.mlp.down_proj.weight",
    "norm": f"{BLOCK}.input_layernorm.weight",
}


def preset(name: str) -> Recipe:
    return replace(load_recipe(name), calibration=Calibration(sequences=2, length=64))


ALL = RECIPES | {
    "gptq-rotated": parse_recipe("rotate = true\n" + RECIPES["gptq"].text, "mine"),
    "int4-awq": preset("int4-awq"),
    "mixed": preset("mixed"),
}


@pytest.fixture
def tiny(tmp_path) -> Path:
    shape = {"hidden": 128, "intermediate": 128, "heads": 4, "head_dim": 32}
    return write_tiny_model(tmp_path / "tiny", **shape)


def fill(folder: Path, name: str, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name][:] = value
    write_weights(folder, weights)


def refused(tiny: Path, recipe: Recipe, out: Path) -> str:
    """What is said of the model; nothing may lie beside it."""
    with pytest.raises(InputError) as caught:
        quantize(tiny, recipe, out, calibration=TEXT)
    assert [path.name for path in out.parent.iterdir()] == [tiny.name]
    return str(caught.value)


@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL)
def test_what_is_not_finite_is_named_as_it_is_stored(tiny, tmp_path, recipe, name):
    set_weight(tiny, name, np.nan)
    said = refused(tiny, recipe, tmp_path / "out")
    assert str(tiny) in said
    assert name in said
    assert "not finite" in said
    assert "proj" in name or "proj" not in said, "a norm is not blamed on who reads it"


@pytest.mark.parametrize("recipe", [ALL["int4-awq"], ALL["mixed"]], ids=["int4-awq", "mixed"])
def test_weights_too_large_for_their_scales_are_named(tiny, tmp_path, recipe):
    set_weight(tiny, BAD["down_proj"], 1e9)
    said = refused(tiny, recipe, tmp_path / "out")
    assert f"{BAD['down_proj']}: weights are too large for scales in float16" in said


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_bits_are_spent_by_logits_that_are_not_finite(tiny, tmp_path):
    fill(tiny, "model.norm.weight", 3e38)
    said = refused(tiny, ALL["mixed"], tmp_path / "out")
    assert "logits are not finite on the calibration text" in said


def test_a_layer_of_zeros_costs_nothing_in_any_format(tiny, tmp_path):
    fill(tiny, BAD["down_proj"], 0)
    quantize(tiny, ALL["mixed"], tmp_path / "out", calibration=TEXT)


def test_the_corrected_model_is_quantized_by_the_same_command(tiny, tmp_path):
    recipe, out = ALL["int4-awq"], tmp_path / "out"
    set_weight(tiny, BAD["down_proj"], np.nan)
    refused(tiny, recipe, out)
    set_weight(tiny, BAD["down_proj"], 0.5)
    quantize(tiny, recipe, out, calibration=TEXT)
