"""Tiny models with random quantized layers, and the same model in floats, for GPTQ and AWQ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.tiny import Array, write_json, write_tiny_model
from transformers import AutoModelForCausalLM

from lichen.checkpoint import open_checkpoint
from lichen.errors import InputError
from lichen.loading import load

Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"

PROMPTS = np.random.default_rng(0).integers(3, 384, (3, 12)).astype(np.int32)


@dataclass(frozen=True)
class Layer:
    """Codes [out, in] and zero points [groups, out] from 0 on, float scales [groups, out]."""

    bits: int
    codes: Array
    zeros: Array
    scales: Array
    groups: Array  # of each column

    @property
    def weight(self) -> Array:
        """float32 [out, in], by the definition, number by number of a row."""
        made = np.empty(self.codes.shape, np.float32)
        for column, group in enumerate(self.groups):
            step = self.scales[group].astype(np.float32)
            made[:, column] = (self.codes[:, column] - self.zeros[group]) * step
        return made


def random_layer(
    rng: np.random.Generator,
    shape: tuple[int, int],
    bits: int,
    size: int | None,
    *,
    symmetric: bool,
    shuffled: bool = False,
    scale_type: Any = np.float16,
) -> Layer:
    """A layer whose weights are about as large as those of a tiny model.

    Zero points of every size occur, 0 and the largest among them.
    """
    rows, columns = shape
    groups = np.arange(columns) // (size or columns)
    parts = (groups[-1] + 1, rows)
    if shuffled:
        rng.shuffle(groups)
    zeros = rng.integers(0, 1 << bits, parts)
    zeros.flat[:2] = 0, (1 << bits) - 1
    if symmetric:
        zeros[:] = 1 << (bits - 1)
    steps = rng.uniform(0.5, 1.5, parts) / (columns**0.5 * (1 << (bits - 1)))
    codes = rng.integers(0, 1 << bits, shape)
    return Layer(bits, codes, zeros, steps.astype(scale_type), groups)


Make = Callable[[np.random.Generator, tuple[int, int]], Layer]
Store = Callable[[Layer], dict[str, Array]]


def write_folders(
    folder: Path, make: Make, store: Store, quantization: dict[str, Any], **tiny: Any
) -> tuple[Path, dict[str, Layer]]:
    """``folder / "quantized"`` and ``folder / "plain"``: the first, and its layers by name."""
    source = write_tiny_model(folder / "plain", **tiny)
    quantized = Path(shutil.copytree(source, folder / "quantized"))
    config = json.loads((source / "config.json").read_text())
    write_json(quantized / "config.json", config | {"quantization_config": quantization})
    plain = load_file(source / "model.safetensors")
    stored: dict[str, Array] = {}
    layers: dict[str, Layer] = {}
    rng = np.random.default_rng(0)
    for name, tensor in plain.items():
        if name.endswith("proj.weight"):
            layer = name.removesuffix(".weight")
            layers[layer] = make(rng, tensor.shape)
            plain[name] = layers[layer].weight
            stored |= {f"{layer}.{k}": part for k, part in store(layers[layer]).items()}
        else:
            stored[name] = tensor
    save_file(plain, source / "model.safetensors", metadata={"format": "pt"})
    save_file(stored, quantized / "model.safetensors", metadata={"format": "pt"})
    return quantized, layers


def edit(folder: Path, change: Callable[[dict[str, Array]], Any]) -> None:
    """Change the tensors of a folder."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})


def configure(folder: Path, **changes: Any) -> None:
    """Change arguments of the quantization config."""
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= changes
    write_json(folder / "config.json", config)


def by_the_engine(folder: Path) -> Array:
    """Logits [prompt, token, vocabulary]."""
    engine = load(folder, threads=1, isa="portable", kv_cache="float32").engine
    return np.stack([np.concatenate(list(engine.logits(ids))) for ids in PROMPTS])


def by_transformers(folder: Path) -> Array:
    """Logits [prompt, token, vocabulary], in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(PROMPTS)).logits)


def as_int32(rows: list[list[int]]) -> Array:
    """Words, given as numbers from 0 on."""
    return np.array(rows, np.uint32).view(np.int32)


def changed(part: str, change: Callable[[Array], Array]) -> Callable[[dict[str, Array]], None]:
    """For `edit`: another tensor in place of one of layer `Q`'s."""
    return lambda tensors: tensors.update({f"{Q}.{part}": change(tensors[f"{Q}.{part}"])})


def refused(folder: Path, words: str) -> None:
    """The folder is not opened, and the one error says so of it, with these words."""
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    assert str(folder) in str(caught.value), caught.value
    assert words in str(caught.value), caught.value
