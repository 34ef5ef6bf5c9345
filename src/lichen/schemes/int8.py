"""Symmetric 8-bit integers with one scale per output row: ``w = code * scale``.

The range is that of compressed-tensors: codes -128..127, and absmax meets the middle of its 255
steps, so ``scale = absmax / 127.5`` and the one code that would be 127.5 or 128 is cut to 127.
Against absmax / 127 each step is 0.4% finer, which is worth as much as the cut costs; what decides
is that readers of the format use this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lichen.schemes import Scheme

SCHEME = Scheme(bits=8)

#: Columns of an input that may share a scale, where that is finer than a scale a token.
INPUT_GROUP_SIZES = (64, 128)


def pack(codes: npt.NDArray[np.int8]) -> npt.NDArray[Any]:
    """Codes are stored as they are."""
    return codes


def unpack(stored: npt.NDArray[Any], columns: int) -> npt.NDArray[np.int8]:
    """Codes [out, columns] as they are."""
    assert stored.shape[1] == columns
    return stored
