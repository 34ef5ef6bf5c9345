"""Inputs in 16 bits, as blocks of codes meet them in the engine (``Input::wide`` there)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lichen import reference
from lichen.engine.lowering import lower
from lichen.schemes import dequantize
from lichen.tensor import Quantized

Array = npt.NDArray[Any]

#: What logits of the tiny models, up to 20, may lose to it: some 2^-16 a layer.
LOST = 2e-3


def widen(x: Array) -> tuple[Array, Array]:
    """Codes [T, cols], and a scale for each 32 columns, float32 [T, ceil(cols / 32)]."""
    blocks = np.pad(x, ((0, 0), (0, -x.shape[1] % 32))).reshape(len(x), -1, 32)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    inverse = np.divide(np.float32(32639), largest, out=np.zeros_like(largest), where=largest > 0)
    codes = np.rint(blocks * inverse).astype(np.int64)
    scales = (largest / np.float32(32639))[:, :, 0]
    return codes.reshape(len(x), -1)[:, : x.shape[1]], scales


def meet_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reference round the inputs of such products as the engine does."""
    exact = reference.linear

    def rounding(x: Array, weight: Any) -> Array:
        if not isinstance(weight, Quantized) or not lower(weight).dtype.startswith("b"):
            return exact(x, weight)
        if weight.activations is not None:
            x = reference.fake_quantize(x, weight.activations, weight.input_scale)
        codes, scales = widen(x.astype(np.float32))
        inputs = codes * np.repeat(scales.astype(np.float64), 32, axis=1)[:, : x.shape[1]]
        return (inputs @ dequantize(weight).T.astype(np.float64)).astype(np.float32)

    monkeypatch.setattr(reference, "linear", rounding)
