"""Reading ``config.json`` without trusting it.

A field that is dropped in silence is a wrong number that nobody sees, so every field is one of
three: declared by the architecture, known to leave the logits alone, or an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from lichen.errors import InputError

#: Fields that do not touch the logits of a forward pass: training, bookkeeping, generation.
# fmt: off
_INERT = frozenset({
    "_attn_implementation_autoset", "_name_or_path", "architectures",
    "attention_dropout", "auto_map", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout",
    "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype", "early_stopping",
    "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id",
    "forced_eos_token_id", "hidden_dropout", "id2label", "initializer_range", "is_decoder",
    "is_llama_config", "label2id", "length_penalty", "max_length",
    "min_length", "model_type", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
    "pad_token_id", "prefix", "problem_type", "pruned_heads", "quantization_config",
    "remove_invalid_values", "repetition_penalty", "resid_pdrop", "return_dict",
    "return_dict_in_generate", "sep_token_id", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder",
    "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers.js_config",
    "transformers_version", "typical_p", "unsloth_fixed", "unsloth_version", "use_bfloat16",
    "use_cache",
})
# fmt: on

#: Fields that leave the logits alone only while they are off.
_INERT_WHEN_OFF = frozenset(
    {"add_cross_attention", "cross_attention_hidden_size", "is_encoder_decoder", "rope_interleaved"}
)


#: A width or the like: at least one, and no more than any model has, so that a config that lies
#: is told so before anything of that size is made.
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
#: How many layers; the graph is as long.
Layers = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
#: How many tokens of text; nothing is made of that size.
Context = Annotated[int, msgspec.Meta(ge=1)]
#: What keeps a norm from dividing by zero.
Epsilon = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of an architecture's configuration: what `graph` reads, and nothing else."""

    def faults(self) -> list[str]:
        """What this architecture cannot do, in words; empty when all is well."""
        return []


C = TypeVar("C", bound=Config)


def parse(kind: type[C], fields: Mapping[str, Any]) -> C:
    """Read ``fields`` as ``kind``; InputError names every fault at once."""
    model_type = fields.get("model_type")
    relevant = {name: value for name, value in fields.items() if _matters(name, value)}
    unknown = sorted(set(relevant) - set(kind.__struct_fields__))
    if unknown:
        raise InputError(
            f"config of this {model_type} model has {_plural('field', unknown)} that lichen does"
            f" not know: {', '.join(unknown)}. A field that is ignored could change the numbers;"
            " remove it from config.json only if you know that it does not."
        )
    try:
        config = msgspec.convert(relevant, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"config of this {model_type} model: {error}.") from None
    if faults := config.faults():
        raise InputError(f"config of this {model_type} model: {'; '.join(faults)}.")
    return config


def head_faults(heads: int, kv_heads: int, head_dim: int) -> list[str]:
    """Faults in the way that attention is cut into heads."""
    faults = []
    if heads % kv_heads:
        faults.append(
            f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})"
        )
    if head_dim < 1 or head_dim % 2:
        faults.append(f"head_dim ({head_dim}) is not even, and rotary positions need pairs")
    return faults


def _matters(name: str, value: object) -> bool:
    return name not in _INERT and not (name in _INERT_WHEN_OFF and not value)


def _plural(noun: str, items: list[str]) -> str:
    return f"a {noun}" if len(items) == 1 else f"{noun}s"
