"""A new version of a model by the recipe of the old one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tests.quantize.test_calibrated import RECIPES, TEXT
from tests.quantize.test_pipeline import set_weight
from tests.tiny import write_tiny_model, write_weights

import lichen
from lichen.errors import InputError
from lichen.quantize import quantize
from lichen.quantize.update import changes, recipe_of, require_same_text
from lichen.recipe import parse_recipe


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


def test_the_exact_recipe_and_calibration_are_repeated(tiny, tmp_path):
    old = quantize(tiny, RECIPES["gptq"], tmp_path / "old", calibration=TEXT).manifest
    recipe, made = recipe_of(tmp_path / "old")
    assert made == old
    assert recipe.rules == RECIPES["gptq"].rules
    assert recipe.calibration == RECIPES["gptq"].calibration
    changed = "model.layers.0.mlp.down_proj"
    weights = load_file(tiny / "model.safetensors")
    weights[f"{changed}.weight"][:, ::32] *= 8  # an outlier in every group coarsens the others
    write_weights(tiny, weights)
    new = quantize(tiny, recipe, tmp_path / "new", calibration=TEXT).manifest
    found = changes(old, new)
    assert not found.same_source
    assert found.bytes[0] == found.bytes[1]
    assert not found.appeared
    assert not found.vanished
    assert changed in [name for name, _, _ in found.layers]
    assert all(after > before for _, before, after in found.layers)


def test_the_command_does_it(tiny, tmp_path):
    text = tmp_path / "words.txt"
    text.write_text(TEXT.documents[0])
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPES["gptq"].text)
    lichen.quantize(tiny, recipe, out=tmp_path / "old", calibration=text)
    report = lichen.quantize(tiny, out=tmp_path / "new", like=tmp_path / "old", calibration=text)
    assert changes(recipe_of(tmp_path / "old")[1], report.manifest).same_source
    text.write_text("something else " * 1000)
    with pytest.raises(InputError, match="give the same text with --calibration"):
        lichen.quantize(tiny, out=tmp_path / "new", like=tmp_path / "old", calibration=text)


def test_another_size_of_calibration_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="leave sequences out"):
        lichen.quantize(tiny, out=tmp_path / "new", like=tmp_path / "old", calibration_sequences=4)


def test_other_text_is_refused(tiny, tmp_path):
    made = quantize(tiny, RECIPES["gptq"], tmp_path / "old", calibration=TEXT).manifest
    require_same_text(made, TEXT)


def test_a_folder_without_a_manifest_is_refused(tiny):
    with pytest.raises(InputError, match="is not a whole folder made by `lichen quantize`"):
        recipe_of(tiny)


MIXED = """
bits = 5
[calibration]
sequences = 2
length = 64
[[layers]]
match = "*.layers.*"
choices = [{ bits = 3 }, { bits = 4 }, { bits = 6 }]
solver = "mse"
"""


def test_a_budget_is_kept_and_its_choices_are_repeated(tiny, tmp_path):
    recipe = parse_recipe(MIXED, "mixed")
    made = quantize(tiny, recipe, tmp_path / "old", calibration=TEXT).manifest
    assert 4.4 < made.quantized_bits_per_weight <= 5
    assert len(set(made.chosen.values())) > 1
    assert all("nats" in layer.why for layer in made.layers)
    by_name = {layer.name: layer.format for layer in made.layers}
    for block in ("model.layers.0", "model.layers.1"):
        for together in (("self_attn.q", "self_attn.k", "self_attn.v"), ("mlp.gate", "mlp.up")):
            assert len({by_name[f"{block}.{part}_proj"] for part in together}) == 1
    again, _ = recipe_of(tmp_path / "old")
    assert not again.calibrated, "what was chosen is not measured again"
    new = quantize(tiny, again, tmp_path / "new").manifest
    assert {layer.name: layer.format for layer in new.layers} == by_name


def test_a_quantized_model_is_taken_when_insisted(tiny, tmp_path):
    recipe = parse_recipe('[[layers]]\nmatch = "*.layers.*"\nweights = { bits = 8 }', "mine")
    quantize(tiny, recipe, tmp_path / "once")
    with pytest.raises(InputError, match="--requantize"):
        quantize(tmp_path / "once", RECIPES["gptq"], tmp_path / "twice", calibration=TEXT)
    made = quantize(
        tmp_path / "once", RECIPES["gptq"], tmp_path / "twice", calibration=TEXT, requantize=True
    )
    assert made.manifest.quantized_bits_per_weight < 5


def test_what_was_chosen_is_repeated_of_a_repetition_too(tiny, tmp_path):
    recipe = parse_recipe(MIXED, "mixed")
    old = quantize(tiny, recipe, tmp_path / "old", calibration=TEXT).manifest
    again, _ = recipe_of(tmp_path / "old")
    new = quantize(tiny, again, tmp_path / "new").manifest
    assert new.chosen == old.chosen
    assert all(layer.why == "this format was chosen before" for layer in new.layers)
    third, _ = recipe_of(tmp_path / "new")
    assert third.chosen == again.chosen
    assert not third.calibrated


def test_an_update_in_place_is_compared_with_what_it_replaced(tiny, tmp_path):
    folder = tmp_path / "made"
    lichen.quantize(tiny, out=folder)
    set_weight(tiny, "model.layers.0.mlp.down_proj.weight", 50)
    arguments = ["quantize", str(tiny), "--like", str(folder), "--out", str(folder), "--force"]
    done = subprocess.run(
        [sys.executable, "-m", "lichen", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["changes"]
    assert not found["same_source"]
    assert [name for name, _, _ in found["layers"]] == ["model.layers.0.mlp.down_proj"]


def test_text_for_a_recipe_that_needs_none_is_said_to_be_of_no_use(tiny, tmp_path):
    text = tmp_path / "words.txt"
    text.write_text(TEXT.documents[0])
    told = []
    lichen.quantize(tiny, out=tmp_path / "made", calibration=text, say=told.append)
    assert any("int8 looks at no inputs" in line for line in told)
