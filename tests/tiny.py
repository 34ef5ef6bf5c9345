"""Tiny random models on disk, for every test that needs one: Hugging Face folders, no torch.

A tiny model is complete: config, weights, a byte-level BPE tokenizer with the chat markers of
ChatML, a chat template and a generation config.  transformers loads it as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

Array = npt.NDArray[Any]
ModelType = Literal["llama", "qwen2"]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: What the tokenizer's merges are learnt from; any text would do.
CORPUS = (
    "def fibonacci(n):\n    if n < 2:\n        return n\n"
    "    return fibonacci(n - 1) + fibonacci(n - 2)\n\n"
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n"
    "    def push(self, item):\n        self.items.append(item)\n\n"
    "for index, value in enumerate(values):\n    print(index, value)\n"
    "The quick brown fox jumps over the lazy dog; it doesn't care about it.\n"
)


def write_tiny_model(
    folder: Path,
    model_type: ModelType = "qwen2",
    *,
    seed: int = 0,
    dtype: str = "float32",
    hidden: int = 64,
    intermediate: int = 96,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    vocab: int = 384,
    tied: bool = True,
    shards: int = 1,
    chat_template: bool = True,
) -> Path:
    """Write a model with random weights into `folder` and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(
        model_type,
        dtype=dtype,
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=vocab,
        tied=tied,
    )
    write_json(folder / "config.json", config)
    weights = tiny_weights(config, seed=seed)
    write_weights(folder, {k: w.astype(DTYPES[dtype]) for k, w in weights.items()}, shards)
    write_tiny_tokenizer(folder, vocab=vocab, chat_template=chat_template)
    return folder


def tiny_config(
    model_type: ModelType,
    *,
    dtype: str = "float32",
    hidden: int = 64,
    intermediate: int = 96,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    vocab: int = 384,
    tied: bool = True,
) -> dict[str, Any]:
    """The config.json of a tiny model, with the keys that published models have."""
    config: dict[str, Any] = {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[model_type]],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "max_position_embeddings": 1024,
        "model_type": model_type,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
        "transformers_version": "4.44.0",
        "use_cache": True,
        "vocab_size": vocab,
    }
    if model_type == "llama":
        config |= {"attention_bias": False, "mlp_bias": False, "pretraining_tp": 1}
        config |= {"rope_scaling": None}
    else:
        config |= {"use_sliding_window": False, "sliding_window": 1024, "max_window_layers": layers}
    if head_dim * heads != hidden:
        config["head_dim"] = head_dim
    return config


def tiny_weights(config: dict[str, Any], *, seed: int = 0) -> dict[str, Array]:
    """float32 weights by Hugging Face name; scaled so that activations stay near 1."""
    rng = np.random.default_rng(seed)
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries = config["num_attention_heads"] * head_dim
    keys = config["num_key_value_heads"] * head_dim
    biased = config["model_type"] == "qwen2" or config.get("attention_bias", False)

    def linear(rows: int, columns: int) -> Array:
        return rng.standard_normal((rows, columns), dtype=np.float32) / np.float32(columns**0.5)

    def vector(width: int, mean: float) -> Array:
        noise = rng.standard_normal(width, dtype=np.float32)
        return np.float32(mean) + np.float32(0.1) * noise

    weights = {"model.embed_tokens.weight": linear(config["vocab_size"], hidden) * np.float32(4)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            weights[f"{prefix}self_attn.{name}.weight"] = linear(rows, hidden)
            if biased:
                weights[f"{prefix}self_attn.{name}.bias"] = vector(rows, 0.0)
        weights[f"{prefix}self_attn.o_proj.weight"] = linear(hidden, queries)
        weights[f"{prefix}mlp.gate_proj.weight"] = linear(intermediate, hidden)
        weights[f"{prefix}mlp.up_proj.weight"] = linear(intermediate, hidden)
        weights[f"{prefix}mlp.down_proj.weight"] = linear(hidden, intermediate)
        weights[f"{prefix}input_layernorm.weight"] = vector(hidden, 1.0)
        weights[f"{prefix}post_attention_layernorm.weight"] = vector(hidden, 1.0)
    weights["model.norm.weight"] = vector(hidden, 1.0)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = linear(config["vocab_size"], hidden) * np.float32(4)
    return weights


def write_weights(folder: Path, weights: dict[str, Array], shards: int = 1) -> None:
    """model.safetensors, or `shards` files with their index."""
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata=metadata)
        return
    index: dict[str, str] = {}
    names = list(weights)
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in names[shard::shards]}
        save_file(part, folder / file, metadata=metadata)
        index |= dict.fromkeys(part, file)
    size = sum(w.nbytes for w in weights.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": index},
    )


def tiny_tokenizer(vocab: int = 384) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab` tokens; ids 0, 1, 2 are SPECIAL_TOKENS.

    It splits text as Qwen2's does, because transformers does so for every model of that type.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS],
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    return tokenizer


def write_tiny_tokenizer(folder: Path, *, vocab: int = 384, chat_template: bool = True) -> None:
    """tokenizer.json, tokenizer_config.json and generation_config.json."""
    tokenizer = tiny_tokenizer(vocab)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "add_bos_token": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for token in SPECIAL_TOKENS
        },
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 1024,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if chat_template:
        config["chat_template"] = CHAT_TEMPLATE
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [2, 0]})


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
