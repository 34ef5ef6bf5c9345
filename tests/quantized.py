"""Folders whose layers have any format, made without recipes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.numpy import load_file, save_file
from tests.tiny import write_json

from lichen.checkpoint.compressed_tensors import stored
from lichen.checkpoint.quantization_config import LayerFormat, quantization_config
from lichen.recipe import parse_recipe
from lichen.schemes import ActivationScheme
from lichen.solvers import absmax
from lichen.tensor import FloatArray, QuantizedTensor

#: The layers of the blocks in one format, and floats around them; the preset `int8` has table and
#: head in 8 bits too.
INT8 = parse_recipe(
    """
[[layers]]
match = "lm_head"
keep = true

[[layers]]
match = "*"
weights = { bits = 8, granularity = "channel" }
activations = { bits = 8, granularity = "token", dynamic = true }
solver = "absmax"
""",
    "int8",
)

#: All weights in the same format, whatever the model's width; the preset `int4` mixes formats.
INT4_G32 = """
[[layers]]
match = "lm_head"
weights = { bits = 8, granularity = "channel" }
activations = { bits = 8, granularity = "token", dynamic = true }
solver = "absmax"
keep_tied = true

[[layers]]
match = "*"
weights = { bits = 4, granularity = "group", group_size = 32 }
activations = { bits = 8, granularity = "group", group_size = 32, dynamic = true }
solver = "mse"
"""
INT4 = parse_recipe(INT4_G32, "int4")

#: Embedding and head get the same codes, which a model with one table for both stores once.
SHARED_TABLE = """
[embedding]
weights = { bits = 8 }
[[layers]]
match = "lm_head"
weights = { bits = 8 }
activations = { bits = 8, granularity = "group", group_size = 32 }
"""
IN_GROUPS = ActivationScheme(granularity="group", group_size=32)


def stored_tensors(folder: Path) -> dict[str, FloatArray]:
    """All tensors of a folder as they are stored, from all of its weight files."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def quantized(weight: FloatArray, chosen: LayerFormat, number: int = 0) -> QuantizedTensor:
    """A weight in a format; static inputs get a scale of about 0.03, so that some are cut."""
    static = chosen.activations is not None and not chosen.activations.dynamic
    scale = 0.02 + 0.002 * (number % 5) if static else None
    solved = absmax.solve(weight, chosen.weights)
    return replace(solved, activations=chosen.activations, input_scale=scale)


def write_quantized(
    source: Path, folder: Path, formats: Mapping[str, LayerFormat | None]
) -> dict[str, QuantizedTensor]:
    """Quantize layers of a tiny model, by the formats of their names; what came of them."""
    shutil.copytree(source, folder)
    config = json.loads((source / "config.json").read_text())
    write_json(
        folder / "config.json", config | {"quantization_config": quantization_config(formats)}
    )
    tensors = load_file(source / "model.safetensors")
    made = {}
    for number, (layer, chosen) in enumerate(formats.items()):
        if chosen is not None:
            made[layer] = quantized(tensors.pop(f"{layer}.weight"), chosen, number)
            tensors |= stored(layer, made[layer])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return made
