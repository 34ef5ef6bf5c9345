"""The metadata of a GGUF file: what `lichen.checkpoint.gguf` reads, written."""

from __future__ import annotations

from typing import Any

from lichen import __version__, models
from lichen.checkpoint import Checkpoint
from lichen.checkpoint.gguf import ARCHITECTURES, FIELDS, GgufCheckpoint
from lichen.checkpoint.gguf_vocabulary import vocabulary
from lichen.errors import InputError

#: Of a GGUF source, what the new file says for itself or no longer is true of it.
_NOT_CARRIED = ("general.alignment", "general.file_type", "split.", "quantize.imatrix.")


def metadata(source: Checkpoint, file_type: int) -> dict[str, Any]:
    """All metadata, of a GGUF source its own; `file_type` is an ``enum llama_ftype``."""
    own = {
        "general.quantized_by": f"lichen {__version__}",
        "general.quantization_version": 2,
        "general.file_type": file_type,
    }
    if isinstance(source, GgufCheckpoint):
        carried = source.metadata.items()
        kept = {k: v for k, v in carried if not k.startswith(_NOT_CARRIED) and v != []}
        return kept | own
    name = source.description.rsplit(", ", 1)[0].split(", ")[0]
    general = {
        "general.architecture": source.config["model_type"],
        "general.type": "model",
        "general.name": name,
    }
    rows = source.shape("model.embed_tokens.weight")[0]
    return general | own | _architecture(source) | vocabulary(source, rows)


def _architecture(source: Checkpoint) -> dict[str, Any]:
    kind = source.config["model_type"]
    if kind not in ARCHITECTURES:
        raise InputError(f"{source.path}: {kind} models cannot be written as GGUF.")
    config = models.read(source.config)
    found = {key: getattr(config, field) for key, field in FIELDS.items()}
    found["attention.head_count_kv"] = config.kv_heads
    found["vocab_size"] = config.vocab_size
    found["rope.dimension_count"] = config.head_width
    if config.head_width * config.num_attention_heads != config.hidden_size:
        found |= dict.fromkeys(
            ("attention.key_length", "attention.value_length"), config.head_width
        )
    found |= _rope(source, config.rope)
    return {f"{kind}.{key}": value for key, value in found.items()}


def _rope(source: Checkpoint, rope: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"rope.freq_base": float(rope["rope_theta"])}
    match rope["rope_type"]:
        case "linear":
            factor = float(rope["factor"])
            found |= {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
        case "default":
            pass
        case other:
            raise InputError(
                f"{source.path}: rotary positions of type {other!r} cannot be written as GGUF;"
                " lichen writes the plain and the linear one."
            )
    return found
