"""A rotated model computes what the model computes, and its inputs have no outliers left."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file
from tests.tiny import tiny_config, tiny_weights, write_json, write_tiny_model, write_weights

from lichen import graph as ops
from lichen import models
from lichen.checkpoint import Checkpoint, open_checkpoint
from lichen.errors import InputError
from lichen.quantize import quantize
from lichen.quantize.assignment import Assignment
from lichen.quantize.rotation import Rotated
from lichen.recipe import parse_recipe
from lichen.reference import Reference
from lichen.schemes import to_float32

Array = npt.NDArray[Any]

IDS = np.random.default_rng(0).integers(3, 300, 40).astype(np.int32)
INT8 = """
[[layers]]
match = "*.layers.*"
weights = { bits = 8 }
activations = { bits = 8 }
"""


def logits(source: Checkpoint, graph: ops.Graph) -> Array:
    weights = {name: source.read(name) for name, _ in graph.weights()}
    return Reference(graph, weights).step(IDS, np.arange(len(IDS), dtype=np.int32))


def of_model(source: Checkpoint) -> Array:
    return logits(source, models.build(source.config))


def prepared(source: Checkpoint, *, rotate: bool) -> Assignment:
    return Assignment(source, parse_recipe(f"rotate = {str(rotate).lower()}\n{INT8}", "mine"))


def biased_llama(folder):
    """A llama whose attention and MLP have biases on every product."""
    path = write_tiny_model(folder, "llama", tied=False)
    config = tiny_config("llama", tied=False) | {"attention_bias": True, "mlp_bias": True}
    weights, rng = tiny_weights(config), np.random.default_rng(3)
    for name in [n for n in weights if n.endswith(("o_proj.weight", "mlp.weight", "j.weight"))]:
        bias = name.replace("weight", "bias")
        weights.setdefault(bias, rng.normal(size=len(weights[name])).astype(np.float32))
    write_json(path / "config.json", config)
    write_weights(path, weights)
    return path


MODELS = {
    "qwen2-tied": lambda folder: write_tiny_model(folder, "qwen2"),
    "qwen2-untied": lambda folder: write_tiny_model(folder, "qwen2", tied=False),
    "llama-odd-width": lambda folder: write_tiny_model(folder, "llama", hidden=96, head_dim=24),
    "llama-biases": biased_llama,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_logits_stay_the_same(tmp_path, make):
    source = open_checkpoint(make(tmp_path / "tiny"))
    rotated = prepared(source, rotate=True).source
    np.testing.assert_allclose(of_model(rotated), of_model(source), atol=2e-4)


def test_every_weight_of_a_product_is_turned_and_norms_have_no_gain(tmp_path):
    source = open_checkpoint(write_tiny_model(tmp_path / "tiny", "qwen2"))
    rotated = prepared(source, rotate=True).source
    same = {
        name
        for name in source.names()
        if np.array_equal(to_float32(rotated.read(name)), to_float32(source.read(name)))
    }
    assert same == {n for n in source.names() if n.endswith(("q_proj.bias", "k_proj.bias"))}
    for name in source.names():
        if "norm" in name:
            assert (rotated.read(name) == 1).all(), name


def test_an_outlier_costs_int8_less(tmp_path):
    """A column of the residual stream a hundred times as large as the others."""
    config = tiny_config("qwen2", hidden=128, head_dim=32, tied=False)
    weights = tiny_weights(config)
    weights["model.embed_tokens.weight"][:, 7] *= 100
    path = write_tiny_model(tmp_path / "tiny", "qwen2", hidden=128, head_dim=32, tied=False)
    write_weights(path, weights)
    source = open_checkpoint(path)
    exact = of_model(source)
    errors = []
    for rotate in (False, True):
        text = f"rotate = {str(rotate).lower()}\n{INT8}"
        quantize(path, parse_recipe(text, "mine"), tmp_path / f"out-{rotate}")
        made = open_checkpoint(tmp_path / f"out-{rotate}")
        errors.append(np.square(of_model(made) - exact).mean())
    assert errors[1] < errors[0] / 2


def test_what_stays_in_floats_keeps_its_type(tmp_path):
    path = write_tiny_model(tmp_path / "tiny", "qwen2", dtype="bfloat16")
    quantize(path, parse_recipe(f"rotate = true\n{INT8}", "mine"), tmp_path / "out")
    made = load_file(tmp_path / "out" / "model.safetensors")
    kinds = {name: tensor.dtype.name for name, tensor in made.items() if "scale" not in name}
    assert kinds.pop("model.layers.0.self_attn.v_proj.bias") == "bfloat16"
    assert kinds.pop("lm_head.weight") == "bfloat16", "the head is its own, since it was turned"
    assert set(kinds.values()) == {"bfloat16", "int8"}


def test_an_architecture_that_does_not_allow_it_is_refused(tmp_path):
    source = open_checkpoint(write_tiny_model(tmp_path / "tiny", "qwen2"))
    graph = ops.Graph(ops.CacheShape(0, 1, 1), 8, 16)
    x = graph.embedding("table", 8, 4)
    graph.linear(x, "head", 8)
    with pytest.raises(InputError, match="cannot be rotated, for this architecture has a Linear"):
        Rotated(source, graph)


def test_a_tied_head_cannot_be_kept_tied():
    text = f'rotate = true\n{INT8}\n[[layers]]\nmatch = "*"\nkeep_tied = true\n'
    text += "weights = { bits = 8 }"
    with pytest.raises(InputError, match="rotate needs a head of its own"):
        parse_recipe(text, "mine")


def test_rotate_is_true_or_false():
    with pytest.raises(InputError, match="rotate"):
        parse_recipe(f'rotate = "yes"\n{INT8}', "mine")
