"""Variants of a model beside it: the bits of whole models, without any in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.tiny import ModelType, tiny_config, tiny_weights

from lichen import _core, models
from lichen.engine.compile import compile_graph
from lichen.engine.scheduler import PAGE_TOKENS, STEP_TOKENS
from lichen.engine.variants import Variant, Variants
from lichen.graph import Graph
from lichen.schemes import int4, int8
from lichen.solvers import absmax

Array = npt.NDArray[Any]
Weights = dict[str, Any]

ISA = _core.supported_isas()[-1]
#: Where variants have other weights: the first product of all, two of one layer, the head.
PLACES = (
    ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.v_proj.weight"],
    ["model.layers.1.self_attn.o_proj.weight"],
    ["model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.up_proj.weight"],
    ["model.layers.1.mlp.down_proj.weight"],
    ["model.layers.2.mlp.down_proj.weight"],
    ["lm_head.weight"],
)


@pytest.fixture(params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest) -> tuple[Graph, Weights]:
    kind: ModelType = request.param
    config = tiny_config(kind, layers=3, tied=False)
    return models.build(config), tiny_weights(config)


def coarse(weights: Weights, names: list[str]) -> Weights:
    """Other weights: of one scheme where they are in layer 1, of another elsewhere."""
    schemes = {name: int4.SCHEME if "layers.1" in name else int8.SCHEME for name in names}
    return {name: absmax.solve(weights[name], scheme) for name, scheme in schemes.items()}


def variants_of(weights: Weights) -> list[Variant]:
    return [
        Variant(frozenset(names), lambda names=names: coarse(weights, names)) for names in PLACES
    ]


def whole(graph: Graph, weights: Mapping[str, Any], ids: Array) -> Array:
    """The logits of all tokens by a plan of the whole model."""
    plan = compile_graph(graph, weights.__getitem__, _core.ThreadPool(1), ISA, STEP_TOKENS)
    shape, pages = graph.cache, STEP_TOKENS // PAGE_TOKENS
    cache = _core.Cache(shape.layers, shape.kv_heads, shape.head_dim, PAGE_TOKENS, pages, "float32")
    positions = np.arange(len(ids), dtype=np.int32)
    table = np.arange(pages, dtype=np.int32)[None]
    return plan.step(cache, ids, positions, np.array([0, len(ids)], np.int32), table, positions)


def text(tokens: int) -> Array:
    return np.random.default_rng(tokens).integers(3, 300, tokens).astype(np.int32)


def beside(variants: Variants, asked: list[Variant], done: list[int]) -> list[Array]:
    """Logits of the model and of all variants, their pieces joined."""
    pieces = [[own, *others] for own, others in variants.logits(asked, done.append)]
    return [np.concatenate(rows) for rows in zip(*pieces, strict=True)]


@pytest.mark.parametrize("tokens", [1, 64, 150, 512])
@pytest.mark.parametrize("threads", [1, 2])
def test_logits_are_those_of_whole_models_to_the_bit(
    model: tuple[Graph, Weights], tokens: int, threads: int
) -> None:
    graph, weights = model
    ids, done = text(tokens), []
    variants = Variants(graph, weights.__getitem__, ids, isa=ISA, threads=threads)
    asked = variants_of(weights)
    found = beside(variants, asked[:3], done) + beside(variants, asked[3:], done)
    expected = [whole(graph, weights, ids)]
    expected += [whole(graph, weights | v.exchanged(), ids) for v in asked]
    assert len({logits.tobytes() for logits in expected}) == 1 + len(PLACES)
    del found[4]  # the model again
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert sum(done) == sum(map(variants.work, asked))


def test_no_layer_is_read_before_the_one_before_it_is_forgotten(
    model: tuple[Graph, Weights],
) -> None:
    """The weights of a layer are read in a row, once for all variants; no variant's too early."""
    graph, weights = model
    read: list[str] = []

    def reading(name: str) -> Any:
        read.append(name)
        return weights[name]

    def exchanging(names: list[str]) -> Weights:
        read.extend(f"other {name}" for name in names)
        return coarse(weights, names)

    variants = Variants(graph, reading, text(20), isa=ISA, threads=1)
    asked = [Variant(frozenset(n), lambda n=n: exchanging(n)) for n in PLACES]
    beside(variants, asked, [])
    assert len(read) == len(set(read)) == len(weights) + sum(map(len, PLACES))
    places = [int(name.split(".")[2]) for name in read if ".layers." in name]
    assert places == sorted(places)


def test_what_was_passed_is_not_computed_again(model: tuple[Graph, Weights]) -> None:
    graph, weights = model
    read: list[str] = []

    def reading(name: str) -> Any:
        read.append(name)
        return weights[name]

    variants = Variants(graph, reading, text(20), isa=ISA, threads=1)
    asked = variants_of(weights)
    beside(variants, asked[3:4], [])
    read.clear()
    beside(variants, asked[4:], [])
    assert "model.embed_tokens.weight" not in read
    assert not any(".layers.0." in name for name in read)
