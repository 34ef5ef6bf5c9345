"""Frequencies of rotary position embeddings, with the ways to stretch them to longer contexts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_KINDS = ("default", "linear", "llama3")


def settings(
    theta: float | None, scaling: Mapping[str, Any] | None, parameters: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One dictionary from the two ways that checkpoints write it.

    transformers 4 has ``rope_theta`` beside ``rope_scaling``; version 5 joins them in
    ``rope_parameters``.
    """
    merged = {"rope_theta": 10000.0 if theta is None else theta, "rope_type": "default"}
    merged |= dict(scaling or {})
    merged |= dict(parameters or {})
    if "type" in merged:
        merged["rope_type"] = merged.pop("type")
    return merged


def faults(rope: Mapping[str, Any]) -> list[str]:
    """What cannot be done with these settings, in words."""
    kind = rope["rope_type"]
    if kind not in _KINDS:
        return [f"rope_type {kind!r} is not supported, lichen has {', '.join(_KINDS)}"]
    needed = {"rope_theta"} | {
        "default": set(),
        "linear": {"factor"},
        "llama3": {
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        },
    }[kind]
    found = []
    for name in sorted(needed | (set(rope) - {"rope_type"})):
        value = rope.get(name)
        if name not in needed and value is not None:
            found.append(f"rope setting {name!r} is unknown for rope_type {kind!r}")
        elif name in needed and (not isinstance(value, int | float) or not value > 0):
            found.append(f"rope setting {name!r} must be a positive number, not {value!r}")
    return found


def inverse_frequencies(rope: Mapping[str, Any], rotary_dim: int) -> npt.NDArray[np.float32]:
    """float32 [rotary_dim / 2]: radians a position for each rotated pair.

    The plain form is eq. 15 of arXiv 2104.09864; "linear" is arXiv 2306.15595; "llama3" smooths
    between stretched low and untouched high frequencies (Llama 3.1 model card).
    Computed in float32 in the order that transformers computes it, so that angles agree.
    """
    exponent = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    plain = np.asarray(1.0 / np.power(np.float32(rope["rope_theta"]), exponent), np.float32)
    match rope["rope_type"]:
        case "linear":
            return np.asarray(plain / np.float32(rope["factor"]), np.float32)
        case "llama3":
            return _llama3(plain, rope)
    return plain


def _llama3(plain: npt.NDArray[np.float32], rope: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * plain.astype(np.float64) / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return np.asarray((1 - smooth) * plain / rope["factor"] + smooth * plain, np.float32)
