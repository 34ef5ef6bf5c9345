"""A GGUF file as a `Checkpoint`: its metadata as a Hugging Face config, its tensors by those names.

Which metadata key of ggml means which field of ``config.json`` follows llama.cpp's
``convert_hf_to_gguf.py`` backwards.  A key that could change the numbers and is not known here is
an error, not ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lichen.checkpoint import files
from lichen.checkpoint.gguf_blocks import BlockType, Bytes
from lichen.checkpoint.gguf_file import GgufFile, TensorEntry, read_gguf
from lichen.checkpoint.gguf_names import hf_name, permuted_heads, unpermute
from lichen.checkpoint.gguf_tokenizer import tokenizer_files
from lichen.checkpoint.protocol import FLOAT_TYPES, ROW_ELEMENTS
from lichen.errors import InputError
from lichen.tensor import AnyTensor, BlockTensor, FloatArray, StoredFloats

#: ``general.architecture``, which is also the model type, to the class in config.json.
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}

#: Metadata to config fields of the same meaning.
FIELDS = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "context_length": "max_position_embeddings",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_FLOAT_FIELDS = {"rms_norm_eps"}
#: Further metadata that `_config` reads or checks.
_READ = {
    "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor",
    "vocab_size",
}  # fmt: skip
#: Metadata that says nothing about the numbers of a plain model, or only when not zero.
_INERT = {"rope.scaling.original_context_length", "rope.scaling.finetuned", "tensor_data_layout"}
_INERT_WHEN_ZERO = {"expert_count", "expert_used_count"}

#: ``general.file_type`` (``enum llama_ftype``): the mixture of types by its usual name.
FILE_TYPES = {
    0: "float32", 1: "float16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1",
    10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M",
    16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "bfloat16",
}  # fmt: skip


class GgufCheckpoint:
    """One ``.gguf`` file; implements `Checkpoint`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._watch = files.Watch([path])
        self._file = read_gguf(path)
        self._entries = {hf_name(path, name): e for name, e in self._file.tensors.items()}
        self.config = _config(self._file, self._entries)

    @property
    def description(self) -> str:
        """The model's own name and what its weights were."""
        name = self._file.metadata.get("general.name") or self.path.stem
        kind = FILE_TYPES.get(self._file.metadata.get("general.file_type", -1), "mixed")
        plain = all(not e.type.blocked for e in self._entries.values())
        return f"{name}, {kind} GGUF" if plain else f"{name}, dequantized {kind} GGUF"

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return self._file.size_bytes

    def names(self) -> tuple[str, ...]:
        """Hugging Face tensor names."""
        return tuple(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, rows first."""
        return self._entry(name).shape

    def dtype(self, name: str) -> str:
        """GGUF's name of the tensor's type."""
        return self._entry(name).type.name

    def read(self, name: str) -> FloatArray:
        """One tensor: floats as stored, blocks dequantized to float32."""
        tensor = self._file.read(self._entry(name))
        heads = permuted_heads(self.config, name)
        return unpermute(tensor, heads) if heads else tensor

    def read_exact(self, name: str) -> AnyTensor:
        """One tensor as it is stored; a matrix is left in the file if its rows are in order."""
        entry, heads = self._entry(name), permuted_heads(self.config, name)
        if len(entry.shape) != 2 or (heads and not entry.type.blocked):
            return self.read(name)
        rows, columns = entry.shape
        if not entry.type.blocked:
            floats = FLOAT_TYPES[entry.type.name]
            return StoredFloats(self._file.rows(entry, columns, ROW_ELEMENTS[floats]), floats)
        if heads:
            data = unpermute(self._file.read_bytes(entry).reshape(rows, -1), heads)
            return BlockTensor(data, entry.type.kernel, (rows, columns))
        stored = self._file.rows(entry, entry.type.nbytes(columns), "uint8")
        return BlockTensor(stored, entry.type.kernel, (rows, columns))

    @cached_property
    def _digest(self) -> str:
        return files.file_digest(self.path)

    def stored(self, name: str) -> tuple[BlockType, Bytes]:
        """A tensor's type and its bytes, in the file's own order of rows."""
        entry = self._entry(name)
        return entry.type, self._file.read_bytes(entry)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The file's metadata."""
        return self._file.metadata

    def digest(self) -> str:
        """SHA-256 of the file."""
        return self._digest

    def changed(self) -> str:
        """The file's name where it is not what it was when it was opened, else ""."""
        return self._watch.changed()

    @cached_property
    def _tokenizer_files(self) -> dict[str, bytes]:
        return tokenizer_files(self.path, self._file.metadata)

    def tokenizer_files(self) -> dict[str, bytes]:
        """Tokenizer files in Hugging Face form, made from the metadata."""
        return self._tokenizer_files

    def _entry(self, name: str) -> TensorEntry:
        try:
            return self._entries[name]
        except KeyError:
            raise InputError(f"{self.path}: has no tensor {name}.") from None


def _config(file: GgufFile, entries: dict[str, TensorEntry]) -> dict[str, Any]:
    """config.json of the model, from its metadata and the shapes of its tensors."""
    architecture = file.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"{file.path}: architecture {architecture!r} is not supported;"
            f" lichen reads {', '.join(ARCHITECTURES)} from GGUF."
        )
    facts = _Facts(file, architecture)
    facts.reject_unknown()
    embedding = entries.get("model.embed_tokens.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise InputError(f"{file.path}: has no token embedding.")
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[architecture]],
        "model_type": architecture,
        "vocab_size": embedding.shape[0],
        "hidden_act": "silu",
        "tie_word_embeddings": "lm_head.weight" not in entries,
        "torch_dtype": "float32",
        "use_cache": True,
    }
    for key, field in FIELDS.items():
        config[field] = facts.real(key) if field in _FLOAT_FIELDS else facts.whole(key)
    heads = config["num_attention_heads"]
    config["num_key_value_heads"] = facts.whole("attention.head_count_kv", heads)
    config |= _head_width(facts, config["hidden_size"], heads)
    config |= _rope(facts)
    if architecture == "llama":
        config["attention_bias"] = "model.layers.0.self_attn.q_proj.bias" in entries
        config["mlp_bias"] = "model.layers.0.mlp.up_proj.bias" in entries
    for role in ("bos", "eos"):
        token = file.metadata.get(f"tokenizer.ggml.{role}_token_id")
        config |= {} if token is None else {f"{role}_token_id": token}
    _check_rows(file.path, config, entries)
    return config


def _head_width(facts: _Facts, hidden: int, heads: int) -> dict[str, int]:
    """``head_dim`` where it is not hidden / heads."""
    usual = hidden // heads
    width = facts.whole("attention.key_length", facts.whole("rope.dimension_count", usual))
    for key in ("attention.value_length", "rope.dimension_count"):
        if facts.whole(key, width) != width:
            raise facts.fault(key, f"must be the width of a head, {width}")
    return {} if width == usual and usual * heads == hidden else {"head_dim": width}


def _rope(facts: _Facts) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_theta": facts.real("rope.freq_base", 10000.0)}
    kind = facts.get("rope.scaling.type") or "none"
    if kind == "linear":
        rope["rope_scaling"] = {"rope_type": "linear", "factor": facts.real("rope.scaling.factor")}
    elif kind != "none":
        raise facts.fault("rope.scaling.type", "must be none or linear")
    return rope


def _check_rows(path: Path, config: dict[str, Any], entries: dict[str, TensorEntry]) -> None:
    """Query and key rows must split into heads of pairs, or they cannot be put in order."""
    fields = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    for name, entry in entries.items():
        field = fields.get(name.split(".")[-2])
        if field and entry.shape[0] % (2 * config[field]):
            raise InputError(
                f"{path}: {name} has {entry.shape[0]} rows, which {config[field]} heads"
                " of pairs do not divide."
            )


class _Facts:
    """The metadata of one architecture, with its values checked as they are asked for."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self._path = file.path
        self._prefix = f"{architecture}."
        self._values = {
            key.removeprefix(self._prefix): value
            for key, value in file.metadata.items()
            if key.startswith(self._prefix)
        }

    def get(self, key: str) -> Any:
        """The value as it is, None where it is absent."""
        return self._values.get(key)

    def whole(self, key: str, default: int | None = None) -> int:
        """A positive whole number."""
        value = self._values.get(key, default)
        if type(value) is not int or value < 1:
            raise self.fault(key, "must be a whole number of at least 1")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A positive number; float32 is given back as the shortest decimal that means it."""
        value = self._values.get(key, default)
        if type(value) not in (int, float) or value is None or not 0 < value < float("inf"):
            raise self.fault(key, "must be a positive number")
        return float(str(np.float32(value)))

    def reject_unknown(self) -> None:
        """InputError for metadata that could change the numbers and is not read."""
        known = FIELDS.keys() | _READ | _INERT
        unknown = {
            key
            for key, value in self._values.items()
            if key not in known and not (key in _INERT_WHEN_ZERO and value == 0)
        }
        if unknown:
            raise InputError(
                f"{self._path}: metadata {', '.join(sorted(unknown))} is not known to lichen and"
                " could change the numbers."
            )

    def fault(self, key: str, allowed: str) -> InputError:
        """The error for a value that cannot be used."""
        return InputError(
            f"{self._path}: metadata {self._prefix}{key} is {self.get(key)!r}, {allowed}."
        )
