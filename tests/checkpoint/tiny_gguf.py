"""Tiny GGUF files, written with the `gguf` package out of tiny Hugging Face folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as GgmlType
from gguf import TokenType
from safetensors.numpy import load_file

Array = npt.NDArray[Any]

GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_tiny_gguf(
    path: Path,
    folder: Path,
    *,
    kind: GgmlType = GgmlType.F32,
    pre: str = "qwen2",
    add_bos: bool = False,
    change: Callable[[gguf.GGUFWriter], None] | None = None,
) -> Path:
    """Convert a tiny model; matrices become `kind` where its blocks fit, all else float32.

    `change` adds metadata of its own before the file is written.
    """
    config = json.loads((folder / "config.json").read_text())
    model_type = config["model_type"]
    writer = gguf.GGUFWriter(path, model_type)
    writer.add_name("Tiny")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    add_tokenizer(writer, folder, pre=pre, add_bos=add_bos)
    if change:
        change(writer)
    for name, weight in load_file(folder / "model.safetensors").items():
        add_tensor(writer, config, name, weight, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tensor(
    writer: gguf.GGUFWriter, config: dict[str, Any], name: str, weight: Array, kind: GgmlType
) -> None:
    weight = weight.astype(np.float32)
    if config["model_type"] == "llama" and ".q_proj." in name:
        weight = permute(weight, config["num_attention_heads"])
    if config["model_type"] == "llama" and ".k_proj." in name:
        weight = permute(weight, config["num_key_value_heads"])
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    if weight.ndim < 2 or weight.shape[1] % block:
        kind = GgmlType.F32
    writer.add_tensor(gguf_name(name), gguf.quants.quantize(weight, kind), raw_dtype=kind)


def permute(weight: Array, heads: int) -> Array:
    """The row order of llama.cpp's converter: halves of each head interleaved."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)


def gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in GGUF_NAMES:
        return f"{GGUF_NAMES[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[part]}.{kind}"


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, *, pre: str, add_bos: bool) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokens = {token: text for text, token in tokenizer["model"]["vocab"].items()}
    kinds = dict.fromkeys(tokens, TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    size = config["vocab_size"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokens.get(i, f"[PAD{i}]") for i in range(size)])
    writer.add_token_types([kinds.get(i, TokenType.UNUSED) for i in range(size)])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_add_bos_token(add_bos)
    if "chat_template" in settings:
        writer.add_chat_template(settings["chat_template"])
