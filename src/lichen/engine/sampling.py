"""Choosing the next token from logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lichen.row_blocks import map_row_blocks

Float32 = npt.NDArray[np.float32]

#: Of the largest probability: what is sorted to draw a token, as far down as it takes.
_FLOORS = (1e-2, 1e-4, 0.0)


def log_softmax(logits: Float32) -> Float32:
    """Logarithms of probabilities, row by row of ``logits`` [rows, vocabulary]."""
    out = np.empty(logits.shape, np.float32)

    def block(rows: slice) -> None:
        largest = logits[rows].max(axis=-1, keepdims=True)
        shifted = np.subtract(logits[rows], largest, out=out[rows])
        total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
        np.subtract(shifted, np.log(total), out=shifted, casting="same_kind")

    map_row_blocks(block, logits.shape)
    return out


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
        shifted = logits - logits.max()
        shifted /= np.float32(self._temperature)
        return _draw(np.exp(shifted, out=shifted), self._top_p, self._random.random())


def _draw(weights: Float32, top_p: float, point: float) -> int:
    """Nucleus sampling (arXiv 1904.09751): from the smallest likeliest set with mass ``top_p``.

    ``weights`` are probabilities in units of the largest.  To sort a whole vocabulary takes longer
    than a small model does for a token, so only tokens above a floor are sorted, and those above a
    lower one where these do not settle the draw.
    """
    total = weights.sum(dtype=np.float64)
    for floor in _FLOORS:
        likely = np.flatnonzero(weights >= floor) if floor else np.arange(len(weights))
        order = likely[np.argsort(-weights[likely], kind="stable")]
        cumulative = np.cumsum(weights[order], dtype=np.float64)
        if not floor:
            total = cumulative[-1]  # whose last digits are those of this order
        last = np.searchsorted(cumulative, top_p * total)  # of the nucleus
        in_sight = last < len(order)
        drawn = point * (cumulative[last] if in_sight else total)
        chosen = min(np.searchsorted(cumulative, drawn, side="right"), last)
        if in_sight or (top_p == 1 and chosen < len(order)):
            break
    return int(order[chosen])
