"""``lichen recipes``: what it lists and shows, and what it tells of a model before it is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.quantize.test_calibrated import TEXT
from tests.quantize.test_pipeline import set_weight
from tests.tiny import write_tiny_model

from lichen.cli.main import run
from lichen.quantize import quantize
from lichen.quantize.explain import UNSEEN, explain_recipe
from lichen.recipe import Calibration, load_recipe, parse_recipe, presets
from lichen.solvers import absmax

PLACES = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
#: The layers of a block whose weights cannot be chosen without inputs; of other presets, none.
UNKNOWN = {
    "int8-smooth": PLACES,
    "int4-awq": PLACES,
    "int4-gptq": ("self_attn.q_proj", "mlp.down_proj"),
    "int4-groups-gptq": ("self_attn.q_proj", "mlp.down_proj"),
    "int4-gptq-rotated": ("self_attn.q_proj", "mlp.down_proj"),
    "int3-gptq": ("self_attn.q_proj", "mlp.down_proj"),
    "mixed": PLACES,
}
OFFERED = [
    "int3 weights per group of 32, dynamic int8 activations per group of 32",
    "int4 weights per group of 128, dynamic int8 activations per group of 128",
    "int4 weights per group of 64, dynamic int8 activations per group of 64",
    "int4 weights per group of 32, dynamic int8 activations per group of 32",
    "int8 weights per channel, dynamic int8 activations per group of 128",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return write_tiny_model(folder, hidden=128, intermediate=256, heads=4, head_dim=32)


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert run(["recipes", *map(str, words)]) == 0
    return capsys.readouterr().out


def explained(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[Any, dict[str, Any]]:
    found = json.loads(shown(capsys, "explain", *words, "--json"))
    return found, {layer["name"]: layer for layer in found["layers"]}


def test_list_names_every_preset_and_says_what_it_does(capsys):
    lines = shown(capsys, "list").splitlines()[1:]
    assert dict(line.split(maxsplit=1) for line in lines) == presets()
    found = json.loads(shown(capsys, "list", "--json"))
    assert {each["name"]: each["description"] for each in found} == presets()
    assert {each["name"] for each in found if each["calibrated"]} == {*UNKNOWN, "int8-static"}


def test_what_is_shown_is_the_recipe_word_for_word(capsys):
    for name in presets():
        assert parse_recipe(shown(capsys, "show", name), name) == load_recipe(name)
        assert json.loads(shown(capsys, "show", name, "--json"))["text"] == load_recipe(name).text


@pytest.mark.parametrize("name", presets())
def test_an_error_is_known_wherever_no_inputs_are_needed(tiny, capsys, name):
    _, layers = explained(capsys, name, tiny)
    for block in range(2):
        for place in PLACES:
            layer = layers[f"model.layers.{block}.{place}"]
            unknown = place in UNKNOWN.get(name, ())
            assert layer["unknown"] == ("needs calibration" if unknown else "")
            assert (layer["error"] is None) == unknown
            assert unknown or 0 < layer["error"] < 0.02
    table = layers.get("model.embed_tokens")
    assert (table is None) == (name in ("int8-static", "paper"))
    assert table is None or 0 < table["error"] < 1e-4
    head = layers["lm_head"]
    kept = (head["format"], head["error"], head["unknown"]) == ("stays as it is", None, "")
    assert kept == (table is None)
    assert kept or 0 < head["error"] < 1e-4


@pytest.mark.parametrize("name", ["int8-static", "int4-gptq"])
def test_the_errors_foretold_are_those_that_come(tiny, tmp_path, name):
    recipe = replace(load_recipe(name), calibration=Calibration(sequences=2, length=32))
    made = quantize(tiny, recipe, tmp_path / "out", calibration=TEXT).manifest
    foretold = {layer.name: layer.error for layer in explain_recipe(recipe, tiny).layers}
    known = [layer for layer in made.layers if foretold[layer.name] is not None]
    assert len(known) == (14 if name == "int8-static" else 5)
    assert [foretold[layer.name] for layer in known] == [layer.error for layer in known]


def test_a_budget_is_told_as_the_average_it_is(tiny, capsys, tmp_path):
    found, layers = explained(capsys, "mixed", tiny)
    blocks = [layer for name, layer in layers.items() if name.endswith("_proj")]
    assert len(blocks) == 14
    for layer in blocks:
        assert layer["bits"] == 4.25
        assert layer["format"] == "one of 5 formats"
        assert layer["offered"] == OFFERED
        assert layer["solver"] == "gptq"
        assert layer["why"] == (
            "matches '*'; the format by measured sensitivity, 4.25 bits on average"
        )
    weights = sum(layer["rows"] * layer["columns"] for layer in blocks)
    table = layers["model.embed_tokens"]
    size = table["rows"] * table["columns"]
    average = (4.25 * weights + table["bits"] * size) / (weights + size)
    assert found["budget"] == 4.25
    assert found["quantized_bits"] == pytest.approx(average, abs=1e-9)
    recipe = replace(load_recipe("mixed"), calibration=Calibration(sequences=2, length=32))
    made = quantize(tiny, recipe, tmp_path / "out", calibration=TEXT).manifest
    assert 0.97 * found["bytes"] < made.predicted_bytes <= found["bytes"]
    after, _ = explained(capsys, tmp_path / "out")
    assert after["budget"] is None
    assert after["quantized_bits"] == pytest.approx(average, rel=0.03)


def test_a_budget_that_cannot_be_spent_is_not_counted(tiny, capsys, tmp_path):
    recipe = tmp_path / "rich.toml"
    recipe.write_text(load_recipe("mixed").text.replace("bits = 4.25", "bits = 16"))
    found, layers = explained(capsys, recipe, tiny)
    assert layers["model.layers.0.self_attn.q_proj"]["bits"] == 8 + 32 / 128
    assert found["quantized_bits"] < 8.6


def test_people_read_what_is_not_known_in_words(tiny, capsys, tmp_path):
    lines = shown(capsys, "explain", "mixed", tiny).splitlines()
    assert lines[0].split() == ["layer", "shape", "bits", "error", "format", "solver", "why"]
    assert lines[1].split("  ")[1:4] == ["128 x 128", "4.25", UNSEEN]
    assert lines[-7:-1] == ["one of 5 formats:", *(f"  {each}" for each in OFFERED)]
    assert lines[-1].startswith("mixed: 4.86 bits per weight in the quantized layers, 4.25 at most")
    static = shown(capsys, "explain", "int8-static", tiny).splitlines()[1]
    assert static.endswith("matches '*'; the scale of its inputs is known once they are seen")
    recipe = replace(load_recipe("int8-static"), calibration=Calibration(sequences=2, length=32))
    quantize(tiny, recipe, tmp_path / "out", calibration=TEXT)
    header, first = shown(capsys, "explain", tmp_path / "out").splitlines()[:2]
    assert header.split()[3:6] == ["error", "of", "output"]
    assert float(first.split()[6]) > 0


def test_a_table_that_head_and_embedding_share_is_solved_once(tiny, monkeypatch):
    solved, seen, solve = [], [], absmax.solve

    def counted(weight, *rest, **options):
        solved.append(weight.shape)
        return solve(weight, *rest, **options)

    monkeypatch.setattr(absmax, "solve", counted)
    found = explain_recipe(load_recipe("int8"), tiny, progress=lambda *step: seen.append(step))
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["lm_head"].error == by_name["model.embed_tokens"].error
    assert solved.count((384, 128)) == 1
    assert len(solved) == len(found.layers) - 1
    assert seen[-1][0] == seen[-1][1] == sum(rows * columns for rows, columns in solved)


def test_weights_that_are_not_finite_are_one_error(tmp_path, capsys):
    tiny = write_tiny_model(tmp_path / "tiny")
    set_weight(tiny, "model.layers.0.mlp.down_proj.weight", float("nan"))
    assert run(["recipes", "explain", "int8", str(tiny)]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lichen:")]
    assert told == [
        f"lichen: error: {tiny}: model.layers.0.mlp.down_proj.weight: weights are not finite."
    ]
