"""What a model on disk is, in figures for people."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from lichen.checkpoint.protocol import Checkpoint
from lichen.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelInfo:
    """The facts of a model, as ``lichen models info`` shows them."""

    description: str
    path: str
    architecture: str
    parameters: int
    layers: int | None
    hidden_size: int | None
    heads: int | None
    kv_heads: int | None
    context: int | None
    #: Weights stored in each element type, most first.
    dtypes: dict[str, int]
    bits_per_weight: float
    size_bytes: int
    vocab: int
    chat_template: bool
    digest: str


def model_info(checkpoint: Checkpoint) -> ModelInfo:
    """Describe an open checkpoint; InputError when it has no usable tokenizer."""
    tokenizer = Tokenizer.load(checkpoint)
    dtypes: Counter[str] = Counter()
    for name in checkpoint.names():
        dtypes[checkpoint.dtype(name)] += math.prod(checkpoint.shape(name))
    parameters = dtypes.total()
    config = checkpoint.config
    return ModelInfo(
        description=checkpoint.description,
        path=str(checkpoint.path),
        architecture=str(config.get("model_type")),
        parameters=parameters,
        layers=_whole(config, "num_hidden_layers"),
        hidden_size=_whole(config, "hidden_size"),
        heads=_whole(config, "num_attention_heads"),
        kv_heads=_whole(config, "num_key_value_heads"),
        context=_whole(config, "max_position_embeddings"),
        dtypes=dict(dtypes.most_common()),
        bits_per_weight=8 * checkpoint.size_bytes / parameters if parameters else 0.0,
        size_bytes=checkpoint.size_bytes,
        vocab=tokenizer.vocab_size,
        chat_template=tokenizer.has_chat,
        digest=checkpoint.digest(),
    )


def _whole(config: dict[str, Any], field: str) -> int | None:
    value = config.get(field)
    return value if isinstance(value, int) else None
