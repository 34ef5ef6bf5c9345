"""The recipes that come with lichen: which there are, and what each asks for, layer by layer."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from lichen.recipe import Choice, Recipe, Rule, load_recipe, presets

#: What was asked for by name; more may come.
ASKED = (
    *("int8", "int8-static", "int8-smooth", "int4", "int4-gptq", "int4-awq", "int4-hqq"),
    *("int3-gptq", "paper", "mixed"),
)


class Layer(NamedTuple):
    """What a layer is asked to be."""

    weights: str
    activations: str
    solver: str = "absmax"
    scaling: str = "-"


TOKEN, STATIC = "dynamic int8 per token", "static int8 per tensor by mse"
IN_32, IN_64, IN_128 = (f"dynamic int8 per group of {size}" for size in (32, 64, 128))
ROW, OF_32, OF_64 = "int8 per channel", "int4 per group of 32", "int4 per group of 64"
TRELLIS = "int4 trellis codes per group of 128"

HEAD = KEYS = Layer(ROW, IN_64)

#: By preset: query, key and down projection of a block, the head, and whether it is rotated.
PRESETS: dict[str, tuple[Layer, Layer, Layer, Layer | None, bool]] = {
    "int8": (*[Layer(ROW, TOKEN)] * 3, HEAD, False),
    "int8-groups": (*[Layer(ROW, IN_128)] * 3, HEAD, False),
    "int8-rotated": (*[Layer(ROW, TOKEN)] * 2, Layer(ROW, IN_128), HEAD, True),
    "int8-smooth": (*[Layer(ROW, TOKEN, "absmax", "smoothquant")] * 3, HEAD, False),
    "int8-static": (*[Layer(ROW, STATIC)] * 3, None, False),
    "paper": (*[Layer(ROW, TOKEN)] * 3, Layer(ROW, TOKEN), False),
    "int4": (Layer(TRELLIS, IN_128, "mse"), KEYS, Layer(TRELLIS, IN_128, "mse"), HEAD, False),
    "int4-groups": (Layer(OF_32, IN_32, "mse"), KEYS, Layer(OF_64, IN_64, "mse"), HEAD, False),
    "int4-hqq": (Layer(OF_32, IN_32, "hqq"), KEYS, Layer(OF_64, IN_64, "hqq"), HEAD, False),
    "int4-awq": (
        Layer(OF_32, IN_32, "mse", "awq"),
        Layer(ROW, IN_64, "absmax", "awq"),
        Layer(OF_64, IN_64, "mse", "awq"),
        HEAD,
        False,
    ),
    "int4-gptq": (
        Layer(TRELLIS, IN_128, "gptq"),
        KEYS,
        Layer(TRELLIS, IN_128, "gptq"),
        HEAD,
        False,
    ),
    "int4-groups-gptq": (
        Layer(OF_32, IN_32, "gptq"),
        KEYS,
        Layer(OF_64, IN_64, "gptq"),
        HEAD,
        False,
    ),
    "int4-gptq-rotated": (
        Layer(OF_32, IN_32, "gptq"),
        KEYS,
        Layer(OF_64, IN_64, "gptq"),
        HEAD,
        True,
    ),
    "int3-gptq": (
        Layer("int3 per group of 32", IN_32, "gptq (act_order True, sweeps 4)"),
        KEYS,
        Layer("int3 per group of 32", IN_32, "gptq (act_order True, sweeps 4)"),
        HEAD,
        True,
    ),
}
MIXED = [
    Layer("int3 per group of 32", IN_32, "gptq"),
    Layer("int4 per group of 128", IN_128, "gptq"),
    Layer(OF_64, IN_64, "gptq"),
    Layer(OF_32, IN_32, "gptq"),
    Layer(ROW, IN_128, "gptq"),
]


def asked(rule: Rule | Choice | None) -> Layer | None:
    if rule is None:
        return None
    assert isinstance(rule, Rule)
    assert rule.scheme.symmetric
    inputs = str(rule.activations or "floats").replace(" activations", "")
    return Layer(
        str(rule.scheme).replace(" weights", ""),
        inputs if rule.range_ is None else f"{inputs} by {rule.range_}",
        str(rule.solver),
        "-" if rule.scaling is None else str(rule.scaling),
    )


def layers(recipe: Recipe) -> list[Layer | None]:
    names = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
    return [asked(recipe.rule(f"model.layers.1.{name}")) for name in names]


def test_the_presets_are_those_that_were_asked_for_and_a_few_more():
    assert set(ASKED) <= set(presets())
    assert set(presets()) == {*PRESETS, "mixed"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_asks_for_what_its_name_says(name):
    recipe = load_recipe(name)
    *blocks, head, rotated = PRESETS[name]
    assert layers(recipe) == blocks
    assert asked(recipe.rule("lm_head")) == head
    assert recipe.rotate == rotated
    bare = name in ("int8-static", "paper")
    assert asked(recipe.embedding) == (None if bare else Layer(ROW, "floats"))
    tied = recipe.rule("lm_head")
    assert (isinstance(tied, Rule) and tied.keep_tied) == (name == "paper")


def test_mixed_spends_four_and_a_quarter_bits_on_five_formats():
    recipe = load_recipe("mixed")
    assert recipe.bits == 4.25
    for name in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"):
        choice = recipe.rule(f"model.layers.1.{name}")
        assert isinstance(choice, Choice)
        assert list(map(asked, choice.rules)) == MIXED
    assert asked(recipe.rule("lm_head")) == HEAD
    assert asked(recipe.embedding) == Layer(ROW, "floats")
    assert not recipe.rotate
