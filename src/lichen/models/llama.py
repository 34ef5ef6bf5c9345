"""Llama (arXiv 2302.13971) and the models that share its shape, SmolLM2 among them."""

from __future__ import annotations

from typing import Any

from lichen.graph import CacheShape, Graph, Value
from lichen.models import config, rope


class Config(config.Config, frozen=True, kw_only=True):
    """The fields of a llama ``config.json`` that decide the numbers."""

    vocab_size: config.Size
    hidden_size: config.Size
    intermediate_size: config.Size
    num_hidden_layers: config.Layers
    num_attention_heads: config.Size
    num_key_value_heads: config.Size | None = None
    head_dim: config.Size | None = None
    max_position_embeddings: config.Context = 2048
    rms_norm_eps: config.Epsilon = 1e-6
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    hidden_act: str = "silu"
    pretraining_tp: int = 1

    @property
    def kv_heads(self) -> int:
        """Key and value heads; as many as query heads where the field is absent."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """Width of one head, which need not be hidden_size / heads."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rope(self) -> dict[str, Any]:
        """Rotary settings in one form."""
        return rope.settings(self.rope_theta, self.rope_scaling, self.rope_parameters)

    def faults(self) -> list[str]:
        """Sizes that do not fit, and variants that this file does not describe."""
        heads = self.num_attention_heads
        found = config.head_faults(heads, self.kv_heads, self.head_width)
        if self.hidden_act != "silu":
            found.append(f"hidden_act {self.hidden_act!r} is not supported, only 'silu'")
        if self.pretraining_tp != 1:
            found.append(f"pretraining_tp {self.pretraining_tp} is not supported, only 1")
        return found + rope.faults(self.rope)


def graph(c: Config) -> Graph:
    """Decoder blocks of RMSNorm, rotary grouped-query attention and SwiGLU, pre-normalized."""
    g = Graph(
        CacheShape(c.num_hidden_layers, c.kv_heads, c.head_width),
        c.vocab_size,
        c.max_position_embeddings,
    )
    x = g.embedding("model.embed_tokens.weight", c.vocab_size, c.hidden_size)
    for layer in range(c.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        h = g.rms_norm(x, f"{prefix}.input_layernorm.weight", c.rms_norm_eps)
        x = g.add(x, _attention(g, c, h, layer, f"{prefix}.self_attn"))
        h = g.rms_norm(x, f"{prefix}.post_attention_layernorm.weight", c.rms_norm_eps)
        x = g.add(x, _mlp(g, c, h, f"{prefix}.mlp"))
    x = g.rms_norm(g.select_rows(x), "model.norm.weight", c.rms_norm_eps)
    head = "model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"
    g.linear(x, head, c.vocab_size)
    return g


def _attention(g: Graph, c: Config, h: Value, layer: int, prefix: str) -> Value:
    heads, width, bias = c.num_attention_heads, c.head_width, c.attention_bias
    q = _linear(g, h, f"{prefix}.q_proj", heads * width, bias)
    k = _linear(g, h, f"{prefix}.k_proj", c.kv_heads * width, bias)
    v = _linear(g, h, f"{prefix}.v_proj", c.kv_heads * width, bias)
    frequencies = rope.inverse_frequencies(c.rope, width)
    q = g.rope(q, heads, frequencies, 1.0)
    k = g.rope(k, c.kv_heads, frequencies, 1.0)
    mixed = g.attention(q, k, v, layer=layer, heads=heads, scale=width**-0.5)
    return _linear(g, mixed, f"{prefix}.o_proj", c.hidden_size, bias)


def _mlp(g: Graph, c: Config, h: Value, prefix: str) -> Value:
    gate = _linear(g, h, f"{prefix}.gate_proj", c.intermediate_size, c.mlp_bias)
    up = _linear(g, h, f"{prefix}.up_proj", c.intermediate_size, c.mlp_bias)
    return _linear(g, g.silu_mul(gate, up), f"{prefix}.down_proj", c.hidden_size, c.mlp_bias)


def _linear(g: Graph, x: Value, name: str, width: int, bias: bool) -> Value:
    return g.linear(x, f"{name}.weight", width, f"{name}.bias" if bias else None)
