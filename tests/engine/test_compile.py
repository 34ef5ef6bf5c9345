"""Quantized folders in the native engine: what the NumPy reference computes from their codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.quantized import INT4
from tests.tiny import write_json, write_tiny_model
from tests.wide import meet_in_16_bits

from lichen import _core, models, reference
from lichen.checkpoint import open_checkpoint
from lichen.completion import Request
from lichen.loading import load
from lichen.quantize import quantize
from lichen.recipe import load_recipe, parse_recipe
from lichen.reference import Reference

PROMPTS = np.random.default_rng(0).integers(3, 300, (40, 3)).astype(np.int32)
INPUTS = "activations = { bits = 8 }\n"


def recipe_of(weights: str, inputs: str = INPUTS) -> str:
    return f'[[layers]]\nmatch = "*.layers.*"\nweights = {{ {weights} }}\n{inputs}'


RECIPES = {
    "int8": load_recipe("int8").text,
    "int4": INT4.text,
    "int4-zeros": recipe_of("bits = 4, symmetric = false"),
    "int8-float-inputs": recipe_of("bits = 8", inputs=""),
    "int4-float-inputs": recipe_of("bits = 4", inputs=""),
    "int4-inputs-per-token": recipe_of("bits = 4"),
    "int8-inputs-in-groups": recipe_of(
        "bits = 8", 'activations = { bits = 8, granularity = "group", group_size = 64 }'
    ),
    "int4-trellis": recipe_of(
        "bits = 4, trellis = true",
        'activations = { bits = 8, granularity = "group" }\nsolver = "mse"',
    ),
    "int4-trellis-float-inputs": recipe_of("bits = 4, trellis = true", 'solver = "mse"'),
    "int4-trellis-inputs-per-token": recipe_of(
        "bits = 4, trellis = true", INPUTS + 'solver = "mse"'
    ),
    "int4-and-int8": '[[layers]]\nmatch = "*.v_proj"\nweights = { bits = 8 }\n'
    + INPUTS
    + recipe_of("bits = 4"),
}


def made(folder: Path, recipe: str, dtype: str) -> Path:
    in_groups = recipe in ("int8-inputs-in-groups", "int4-trellis")
    wide = {"hidden": 128, "intermediate": 192} if in_groups else {}
    source = write_tiny_model(folder / "tiny", dtype=dtype, **wide)
    quantize(source, parse_recipe(RECIPES[recipe], recipe), folder / "out")
    return folder / "out"


def make_static(folder: Path) -> None:
    """Give every quantized layer's input one scale, another for each, as calibration might."""
    config = json.loads((folder / "config.json").read_text())
    group = config["quantization_config"]["config_groups"]["group_0"]
    group["input_activations"] |= {"strategy": "tensor", "dynamic": False}
    write_json(folder / "config.json", config)
    tensors = load_file(folder / "model.safetensors")
    layers = [name.removesuffix(".weight_scale") for name in tensors if name.endswith("_scale")]
    for number, layer in enumerate(sorted(layers)):
        # Small enough that some inputs saturate.
        tensors[f"{layer}.input_scale"] = np.array([0.01 + 0.001 * (number % 5)], np.float32)
    save_file(tensors, folder / "model.safetensors")


def round_inputs_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reference do what processors that multiply bfloat16 do."""
    exact = reference.linear

    def rounding(x: np.ndarray, weight: Any) -> np.ndarray:
        if isinstance(weight, np.ndarray) and weight.dtype == ml_dtypes.bfloat16:
            x = x.astype(ml_dtypes.bfloat16).astype(np.float32)
        return exact(x, weight)

    monkeypatch.setattr(reference, "linear", rounding)


def by_reference(folder: Path) -> np.ndarray:
    checkpoint = open_checkpoint(folder)
    graph = models.build(checkpoint.config)
    weights = {name: checkpoint.read(name) for name, _ in graph.weights()}
    rows = np.arange(PROMPTS.shape[1], dtype=np.int32)
    return np.stack([Reference(graph, weights).step(ids, rows) for ids in PROMPTS])


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_engine_computes_what_the_codes_mean(tmp_path, monkeypatch, recipe, dtype, isa):
    """Prompt by prompt: where x / scale lies next to a half, its last bit decides a code.

    Floats that meet codes are rounded to 16 bits: a thousandth of logits of up to 20; one that is
    rounded to bfloat16 otherwise for it changes them by several.
    """
    close = 1e-3 if recipe.endswith("float-inputs") else 1e-4
    folder = made(tmp_path, recipe, dtype)
    if isa in ("avx512_bf16", "amx"):
        close = max(close, 5e-3 if dtype == "bfloat16" and recipe.endswith("float-inputs") else 0)
        round_inputs_of_bfloat16(monkeypatch)
    meet_in_16_bits(monkeypatch)
    engine = load(folder, isa=isa, threads=1, kv_cache="float32").engine
    ours = np.stack([np.concatenate(list(engine.logits(ids))) for ids in PROMPTS])
    same = np.abs(ours - by_reference(folder)).max(axis=(1, 2)) < close
    assert same.mean() >= 0.5


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("recipe", ["int8", "int4-zeros"])
def test_static_activation_scales(tmp_path, recipe, isa):
    folder = made(tmp_path, recipe, "float32")
    dynamic = by_reference(folder)
    make_static(folder)
    engine = load(folder, isa=isa, threads=1, kv_cache="float32").engine
    ours = np.stack([np.concatenate(list(engine.logits(ids))) for ids in PROMPTS])
    static = by_reference(folder)
    assert (np.abs(ours - static).max(axis=(1, 2)) < 1e-4).mean() >= 0.5
    assert np.abs(static - dynamic).max() > 1e-2


def test_int4_answers_alone_as_among_others_with_any_number_of_threads(tmp_path):
    folder = made(tmp_path, "int4", "bfloat16")
    prompts = ["def f(x):", "class A", "import os\n", "for i in", "return x", "x = [1, 2"]
    requests = [Request(prompt, max_tokens=12) for prompt in prompts]
    together = dict(load(folder, threads=2).generate(requests))
    single = load(folder, threads=1)
    for number, request in enumerate(requests):
        assert dict(single.generate([request]))[0] == together[number]
