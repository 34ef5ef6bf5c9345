"""Choosing the next token from logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def log_softmax(logits: Float32) -> Float32:
    """Logarithms of probabilities, row by row of ``logits`` [rows, vocabulary]."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
    return np.asarray(shifted - np.log(total), np.float32)


class Sampler:
    """The way one sequence picks its tokens: greedy, or at a temperature from the top ``top_p``.

    Draws come from a generator of its own (Philox, keyed by the seed), one draw a token, so a
    sequence does not depend on what runs beside it.
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._random = np.random.Generator(np.random.Philox(seed)) if temperature > 0 else None

    def pick(self, logits: Float32) -> int:
        """A token id from ``logits`` [vocabulary]; of equal maxima the lowest id."""
        if self._random is None:
            return int(np.argmax(logits))
        return _draw(logits / self._temperature, self._top_p, self._random.random())


def _draw(logits: Float32, top_p: float, point: float) -> int:
    """Nucleus sampling (arXiv 1904.09751): the smallest likeliest set with mass ``top_p``."""
    weights = np.exp((logits - logits.max()).astype(np.float64))
    order = np.argsort(-weights, kind="stable")
    cumulative = np.cumsum(weights[order])
    kept = int(np.searchsorted(cumulative, top_p * cumulative[-1])) + 1
    kept = min(kept, len(order))
    chosen = int(np.searchsorted(cumulative[:kept], point * cumulative[kept - 1], side="right"))
    return int(order[min(chosen, kept - 1)])
