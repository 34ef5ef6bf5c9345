"""Tensor names of GGUF and of Hugging Face, and the order of rows in which the two differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lichen.errors import InputError
from lichen.tensor import FloatArray

#: GGUF tensor name, without "blk.N.", to the Hugging Face one, without "model.layers.N.".
_GLOBAL_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GGUF_NAMES = {theirs: ours for ours, theirs in (_GLOBAL_NAMES | _LAYER_NAMES).items()}
_GGUF_LAYER = re.compile(r"blk\.(0|[1-9][0-9]*)\.([a-z_]+)")
_HF_LAYER = re.compile(r"model\.layers\.(0|[1-9][0-9]*)\.([a-z_.]+)")


def hf_name(path: Path, name: str) -> str:
    """The Hugging Face name of a tensor of the GGUF file `path`."""
    stem, _, kind = name.rpartition(".")
    if kind in ("weight", "bias"):
        if stem in _GLOBAL_NAMES:
            return f"{_GLOBAL_NAMES[stem]}.{kind}"
        if (layer := _GGUF_LAYER.fullmatch(stem)) and layer[2] in _LAYER_NAMES:
            return f"model.layers.{layer[1]}.{_LAYER_NAMES[layer[2]]}.{kind}"
    raise InputError(
        f"{path}: tensor {name!r} is not one that lichen knows how to use; the model has parts"
        " that are not supported."
    )


def gguf_name(name: str) -> str:
    """The GGUF name of a tensor that a model of lichen's uses."""
    stem, _, kind = name.rpartition(".")
    if layer := _HF_LAYER.fullmatch(stem):
        return f"blk.{layer[1]}.{_GGUF_NAMES[layer[2]]}.{kind}"
    return f"{_GGUF_NAMES[stem]}.{kind}"


def permuted_heads(config: Mapping[str, Any], name: str) -> int:
    """Heads whose rows ggml interleaves, 0 where it leaves the order alone.

    The ``llama`` architecture is converted with rotary pairs side by side; ``qwen2`` is not.
    """
    if config["model_type"] != "llama":
        return 0
    heads = config["num_attention_heads"]
    match name.split(".")[-2]:
        case "q_proj":
            return int(heads)
        case "k_proj":
            return int(config.get("num_key_value_heads") or heads)
    return 0


def unpermute(tensor: FloatArray, heads: int) -> FloatArray:
    """Rows [pairs interleaved] to [first halves, second halves] within each head."""
    return _swapped(tensor, (heads, len(tensor) // heads // 2, 2))


def permute(tensor: FloatArray, heads: int) -> FloatArray:
    """The inverse of `unpermute`."""
    return _swapped(tensor, (heads, 2, len(tensor) // heads // 2))


def _swapped(tensor: FloatArray, rows: tuple[int, int, int]) -> FloatArray:
    swapped = tensor.reshape(*rows, *tensor.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(swapped).reshape(tensor.shape)
