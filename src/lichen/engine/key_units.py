"""In which units an int8 cache holds the keys of a layer.

Some channels of keys are far larger than the others: a bias of a hundred beside numbers around
one (Qwen2).  One scale for all of them would leave the small ones a few integers.  Since a score is
a sum over channels, ``(q u) . (k / u)``, a factor can move from the key to the query, channel by
channel, as in SmoothQuant (arXiv 2211.10438) and, for keys, QServe (arXiv 2405.04532).  The two
channels that rope turns into one another have the same unit.  Units are powers of two: dividing by
them rounds nothing.
"""

from __future__ import annotations

import numpy as np

from lichen.graph import Rope
from lichen.tensor import FloatArray


def key_units(
    weight: FloatArray, bias: FloatArray | None, gain: FloatArray | None, rope: Rope, head_dim: int
) -> FloatArray:
    """Units [kv_heads * head_dim] near the size that each channel of a key has.

    A key is ``weight [out, in] @ x + bias`` and then rotated; x is taken as independent numbers as
    large as the norm's ``gain`` [in] leaves them.
    """
    squares = np.square(weight if gain is None else weight * gain).sum(1, dtype=np.float64)
    if bias is not None:
        squares += np.square(bias, dtype=np.float64)
    heads = squares.reshape(-1, head_dim)
    first, second = _pairs(rope)
    shared = (heads[:, first] + heads[:, second]) / 2
    heads[:, first] = heads[:, second] = shared
    sizes = np.sqrt(np.maximum(heads, 1e-12))
    exponents = np.clip(np.round(np.log2(sizes)), -20, 20)
    units: FloatArray = np.exp2(exponents).astype(np.float32).reshape(-1)
    return units


def _pairs(rope: Rope) -> tuple[slice, slice]:
    """The columns that rope turns into one another."""
    pairs = len(rope.inv_freq)
    if rope.interleaved:
        return slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    return slice(0, pairs), slice(pairs, 2 * pairs)
