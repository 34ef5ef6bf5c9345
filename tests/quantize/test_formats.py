"""Every kind of number that a recipe can ask for: transformers computes from the folder what lichen
computes, within rounding.

compressed-tensors 0.20 forgets, in the placeholders that transformers 5.24 loads into, that packed
zero points are packed, and refuses the folder for their size.  Other readers have no such
placeholders; here they are mended, and the rest of the library is as it is.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from tests.quantize.test_calibrated import SIZE, TEXT
from tests.quantize.test_pipeline import (
    loaded,
    our_logits,
    share_of_equal_prompts,
    share_of_equal_rows,
    their_logits,
)
from tests.tiny import write_tiny_model

from lichen.checkpoint import open_checkpoint
from lichen.quantize import quantize
from lichen.recipe import Calibration, Choice, load_recipe, parse_recipe, presets
from lichen.schemes import BITS
from lichen.schemes.packing import packed_columns
from lichen.tensor import QuantizedTensor

SHAPE = {"hidden": 128, "intermediate": 192, "heads": 4, "head_dim": 32}

GRANULARITIES = ['granularity = "tensor"', 'granularity = "channel"', "group_size = 32"]
WEIGHTS = [
    f"bits = {bits}, {granularity}, symmetric = {symmetric}"
    for bits, granularity, symmetric in itertools.product(BITS, GRANULARITIES, ["true", "false"])
]
INPUTS = [
    "bits = 8",
    'bits = 8, granularity = "tensor", dynamic = false',
    'bits = 8, granularity = "group", group_size = 32',
]
WITH_INPUTS = [
    'bits = 8, granularity = "channel"',
    'bits = 8, granularity = "tensor", symmetric = false',
    "bits = 4, group_size = 32",
    "bits = 3, group_size = 32, symmetric = false",
    'bits = 6, granularity = "channel"',
]
#: Of prompts, with rounded inputs: where one lies next to a half its code may fall the other way,
#: and the outermost input of a token or group always does when it is negative (see test_pipeline).
#: Were anything else different, no prompt would have the same logits.
MANY, SOME = 0.5, 0.2
#: Of positions, for rotated models: which codes fall there depends on the order of torch's sums,
#: and so on the processor.
SOME_POSITIONS = 0.35
TABLES = ['bits = 8, granularity = "channel"', "bits = 8, group_size = 64"]


@pytest.fixture
def mended(monkeypatch):
    """Placeholders of packed zero points have their packed size."""
    packer = BaseCompressor.get_value_from_registry("pack-quantized")
    compress = packer.compress.__func__

    def with_packed_zeros(cls, state, scheme):
        made = compress(cls, state, scheme)
        zeros, args = made.get("weight_zero_point"), scheme.weights
        if zeros is not None and zeros.is_meta and args.strategy in ("group", "channel"):
            words = packed_columns(len(zeros), args.num_bits)
            made["weight_zero_point"] = torch.empty(
                (words, zeros.shape[1]), dtype=torch.int32, device="meta"
            )
        return made

    monkeypatch.setattr(packer, "compress", classmethod(with_packed_zeros))


@pytest.fixture
def source(tmp_path):
    return write_tiny_model(tmp_path / "tiny", tied=False, **SHAPE)


def same_logits(source, recipe, out, share=share_of_equal_prompts) -> float:
    """The share of prompts whose logits are the same through lichen and through transformers."""
    quantize(source, recipe, out, calibration=TEXT)
    ours, before = our_logits(out), our_logits(source)
    assert np.abs(ours - before).mean() > 1e-4, "quantization must have an effect"
    return share(ours, their_logits(loaded(out)))


def everywhere(weights: str, inputs: str = "", table: str = ""):
    text = SIZE + (f"[embedding]\nweights = {{ {table} }}\n" if table else "")
    text += f'[[layers]]\nmatch = "*"\nweights = {{ {weights} }}\n'
    return parse_recipe(text + (f"activations = {{ {inputs} }}\n" if inputs else ""), "mine")


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_of_every_kind(source, tmp_path, weights, mended):
    assert same_logits(source, everywhere(weights), tmp_path / "out") == 1


@pytest.mark.parametrize("weights", WITH_INPUTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_inputs_of_every_kind(source, tmp_path, weights, inputs, mended):
    share = same_logits(source, everywhere(weights, inputs), tmp_path / "out")
    assert share >= (SOME if "group" in inputs else MANY)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("weights", ["bits = 8", "bits = 4"])
def test_embeddings_of_eight_bits(source, tmp_path, table, weights):
    assert same_logits(source, everywhere(weights, table=table), tmp_path / "out") == 1


#: Presets in a format that compressed-tensors has no word for.
OUR_OWN = ("int4", "int4-gptq")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", [name for name in presets() if name not in OUR_OWN])
def test_every_preset(tmp_path, name, tied):
    shape = {"hidden": 128, "intermediate": 256, "heads": 4, "head_dim": 32}
    source = write_tiny_model(tmp_path / "tiny", tied=tied, **shape)
    recipe = replace(load_recipe(name), calibration=Calibration(sequences=4, length=64))
    if recipe.rotate:
        assert same_logits(source, recipe, tmp_path / "out", share_of_equal_rows) >= SOME_POSITIONS
    else:
        assert same_logits(source, recipe, tmp_path / "out") >= SOME


def test_presets_load_without_mending():
    """Packed zero points of rows and groups do not load in plain transformers (docs/recipes.md).

    Trellis codes do not either, and only the presets that say so have them.
    """
    for name in presets():
        for _, rule in load_recipe(name).rules:
            for each in rule.rules if isinstance(rule, Choice) else filter(None, [rule]):
                assert each.scheme.symmetric, name
                assert not each.scheme.trellis or name in OUR_OWN


#: By recipe: what it makes that transformers cannot read, on an untied model and on a tied one.
ZEROS = "packed zero points"
UNREAD = {
    "nothing": (everywhere("bits = 4, group_size = 32"), False, ()),
    "zeros-of-a-tensor": (
        everywhere('bits = 4, granularity = "tensor", symmetric = false'),
        False,
        (),
    ),
    "plain-zeros": (everywhere("bits = 8, symmetric = false", "bits = 8"), False, ()),
    "zeros-of-groups": (everywhere("bits = 4, symmetric = false"), False, (ZEROS,)),
    "zeros-of-rows": (
        everywhere('bits = 6, granularity = "channel", symmetric = false'),
        False,
        (ZEROS,),
    ),
    "trellis": (
        parse_recipe(
            '[[layers]]\nmatch = "*.layers.*"\nweights = { bits = 4, trellis = true }\n'
            'solver = "mse"\n',
            "mine",
        ),
        False,
        ("trellis codes",),
    ),
    "packed-table": (everywhere("bits = 8", table="bits = 4"), False, ("a packed embedding",)),
    "table-of-a-head": (
        parse_recipe(
            "[embedding]\nweights = { bits = 8 }\n"
            '[[layers]]\nmatch = "*.layers.*"\nweights = { bits = 8 }\n',
            "mine",
        ),
        True,
        ("a quantized embedding that is the head too",),
    ),
    "budget": (
        parse_recipe(
            f"bits = 5\n{SIZE}" + '[[layers]]\nmatch = "*.layers.*"\nsolver = "mse"\n'
            "choices = [{ bits = 3, symmetric = false }, { bits = 4, symmetric = false }]\n",
            "mine",
        ),
        False,
        (ZEROS,),
    ),
}


@pytest.mark.parametrize(("recipe", "tied", "unread"), UNREAD.values(), ids=UNREAD)
def test_what_transformers_cannot_read_is_said(tmp_path, recipe, tied, unread):
    source = write_tiny_model(tmp_path / "tiny", tied=tied, **SHAPE)
    told = []
    report = quantize(source, recipe, tmp_path / "out", calibration=TEXT, say=told.append)
    assert report.not_for_transformers == unread
    notes = [f"transformers cannot use this folder, lichen can: it has {what}" for what in unread]
    assert [line for line in told if "transformers" in line] == notes
    assert transformers_reads(tmp_path / "out") == (not unread)


def transformers_reads(folder) -> bool:
    """Whether it computes what lichen does, for most prompts where inputs are rounded."""
    try:
        theirs = their_logits(loaded(folder))
    except (AttributeError, RuntimeError, ValueError):
        return False
    return share_of_equal_prompts(our_logits(folder), theirs) >= MANY


def test_formats_that_a_budget_chose(source, tmp_path, mended):
    text = f"""
    bits = 5
    {SIZE}
    [[layers]]
    match = "*.layers.*"
    choices = [{{ bits = 3, symmetric = false }}, {{ bits = 4 }}, {{ bits = 6 }}, {{ bits = 8 }}]
    solver = "mse"
    [[layers]]
    match = "lm_head"
    weights = {{ bits = 8 }}
    activations = {{ bits = 8 }}
    """
    assert same_logits(source, parse_recipe(text, "mixed"), tmp_path / "out") >= MANY
    made = open_checkpoint(tmp_path / "out")
    tensors = [made.read(name) for name in made.names()]
    formats = {(t.scheme.bits, t.scheme.symmetric) for t in tensors if hasattr(t, "scheme")}
    assert len(formats) > 2
    assert all(isinstance(t, QuantizedTensor) for t in tensors if hasattr(t, "scheme"))
