"""Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115), Qwen2.5-Coder (2409.12186) among them.

Llama's block, with biases on q, k and v alone.
"""

from __future__ import annotations

from typing import Any

from lichen.graph import CacheShape, Graph, Value
from lichen.models import config, rope


class Config(config.Config, frozen=True, kw_only=True):
    """The fields of a qwen2 ``config.json`` that decide the numbers."""

    vocab_size: config.Size
    hidden_size: config.Size
    intermediate_size: config.Size
    num_hidden_layers: config.Layers
    num_attention_heads: config.Size
    num_key_value_heads: config.Size | None = None
    head_dim: config.Size | None = None
    max_position_embeddings: config.Context = 32768
    rms_norm_eps: config.Epsilon = 1e-6
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    use_sliding_window: bool = False
    use_mrope: bool = False
    # Read only where use_sliding_window is true, which is refused below.
    sliding_window: int | None = None
    max_window_layers: int | None = None
    layer_types: list[str] | None = None

    @property
    def kv_heads(self) -> int:
        """Key and value heads; as many as query heads where the field is absent."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """Width of one head."""
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
        if self.use_sliding_window or set(self.layer_types or ()) - {"full_attention"}:
            found.append("sliding-window attention is not supported")
        if self.use_mrope:
            found.append("use_mrope (multimodal rotary positions) is not supported")
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
    heads, width = c.num_attention_heads, c.head_width
    q = g.linear(h, f"{prefix}.q_proj.weight", heads * width, f"{prefix}.q_proj.bias")
    k = g.linear(h, f"{prefix}.k_proj.weight", c.kv_heads * width, f"{prefix}.k_proj.bias")
    v = g.linear(h, f"{prefix}.v_proj.weight", c.kv_heads * width, f"{prefix}.v_proj.bias")
    frequencies = rope.inverse_frequencies(c.rope, width)
    q = g.rope(q, heads, frequencies, 1.0)
    k = g.rope(k, c.kv_heads, frequencies, 1.0)
    mixed = g.attention(q, k, v, layer=layer, heads=heads, scale=width**-0.5)
    return g.linear(mixed, f"{prefix}.o_proj.weight", c.hidden_size)


def _mlp(g: Graph, c: Config, h: Value, prefix: str) -> Value:
    gate = g.linear(h, f"{prefix}.gate_proj.weight", c.intermediate_size)
    up = g.linear(h, f"{prefix}.up_proj.weight", c.intermediate_size)
    return g.linear(g.silu_mul(gate, up), f"{prefix}.down_proj.weight", c.hidden_size)
