"""The tensor types of GGUF: what a row of each takes, and the float32 that blocks stand for.

Floats lie as they are; rows of other types are cut into blocks of 32 or 256 weights, each of packed
codes with its float16 scales.  The core takes them apart (lichen/block_types.h), for the kernels as
for `BlockType.decode`, which is bit-equal to the ``gguf`` package's ``quants.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.reuse import empty

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class BlockType:
    """A GGUF tensor type: its number in the file, its name, and what weights take there."""

    number: int
    name: str
    weights: int
    size_bytes: int
    element: Any = None

    @property
    def blocked(self) -> bool:
        """Whether weights share scales; floats do not."""
        return self.element is None

    @property
    def kernel(self) -> str:
        """The core's name of a type of blocks."""
        return self.name.lower()

    def nbytes(self, count: int) -> int:
        """Bytes of `count` weights."""
        return count // self.weights * self.size_bytes

    def decode(self, data: Bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Weights from their bytes: plain floats as stored, blocks as float32."""
        if not self.blocked:
            floats: npt.NDArray[Any] = data.view(self.element)
            return floats.reshape(shape)
        out = empty((len(data) // self.size_bytes, self.weights), np.float32)
        _core.dequantize_blocks(self.kernel, data.reshape(-1, self.size_bytes), out)
        return out.reshape(shape)


#: Every type that lichen reads, by its number in the file (``enum ggml_type``).
BLOCK_TYPES = {
    block.number: block
    for block in (
        BlockType(0, "F32", 1, 4, element=np.dtype("<f4")),
        BlockType(1, "F16", 1, 2, element=np.dtype("<f2")),
        BlockType(2, "Q4_0", 32, 2 + 16),
        BlockType(3, "Q4_1", 32, 2 + 2 + 16),
        BlockType(6, "Q5_0", 32, 2 + 4 + 16),
        BlockType(7, "Q5_1", 32, 2 + 2 + 4 + 16),
        BlockType(8, "Q8_0", 32, 2 + 32),
        BlockType(12, "Q4_K", 256, 2 + 2 + 12 + 128),
        BlockType(13, "Q5_K", 256, 2 + 2 + 12 + 32 + 128),
        BlockType(14, "Q6_K", 256, 128 + 64 + 16 + 2),
        BlockType(30, "BF16", 1, 2, element=np.dtype(ml_dtypes.bfloat16)),
    )
}

#: Names of the types that exist but are not read, for the error message.
UNREAD_TYPES = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS",
    19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16",
    26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
    40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
