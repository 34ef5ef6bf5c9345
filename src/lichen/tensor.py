"""A quantized weight in memory: integer codes with the numbers that turn them back into floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lichen._core import FileRows
    from lichen.schemes import ActivationScheme, Scheme

#: float32, float16 or ml_dtypes.bfloat16; the element type says which.
FloatArray = npt.NDArray[Any]


@dataclass(frozen=True)
class QuantizedTensor:
    """Weight [out, in] as integers: ``w = (codes - zeros) * scales``, group by group along ``in``.

    codes  int8 [out, in], unpacked, whatever the number of bits
    scales float32 [out, groups]; one group for per-channel, [1, 1] for per-tensor
    zeros  int8 [out, groups] or None for a symmetric scheme
    activations  how the input of the product is quantized; None leaves it in floats
    input_scale  of static activations, the same for every input
    """

    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    zeros: npt.NDArray[np.int8] | None
    scheme: Scheme
    activations: ActivationScheme | None = None
    input_scale: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs, inputs."""
        rows, columns = self.codes.shape
        return rows, columns

    @property
    def nbytes(self) -> int:
        """Bytes in this unpacked form."""
        zeros = 0 if self.zeros is None else self.zeros.nbytes
        return self.codes.nbytes + self.scales.nbytes + zeros


@dataclass(frozen=True)
class TrellisTensor:
    """Weight [out, in] in trellis codes (`lichen.schemes.trellis`): uint8 words [out, bytes]."""

    words: npt.NDArray[np.uint8]
    shape: tuple[int, int]
    scheme: Scheme
    activations: ActivationScheme | None = None
    input_scale: float | None = None

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.words.nbytes


@dataclass(frozen=True)
class StoredTensor:
    """A symmetric `QuantizedTensor` whose codes are still in its file: int8, or pairs of int4."""

    codes: FileRows
    scales: npt.NDArray[np.float32]
    scheme: Scheme
    activations: ActivationScheme | None = None
    input_scale: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs, inputs."""
        return self.codes.rows, self.codes.columns


@dataclass(frozen=True)
class StoredTrellis:
    """Weight [out, in] in trellis codes that are still in their file: rows of bytes."""

    words: FileRows
    shape: tuple[int, int]
    scheme: Scheme
    activations: ActivationScheme


@dataclass(frozen=True)
class StoredFloats:
    """A matrix [out, in] of floats that is still in its file; ``name`` is that of their type."""

    rows: FileRows
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs, inputs."""
        return self.rows.rows, self.rows.columns


@dataclass(frozen=True)
class BlockTensor:
    """Weight [out, in] in blocks of a GGUF type, which stand for float32.

    data    uint8 [out, bytes of a row] as in the file, or still there
    kind    name of the type, in the core's spelling ("q4_k")
    """

    data: npt.NDArray[np.uint8] | FileRows
    kind: str
    shape: tuple[int, int]


#: A quantized weight in memory.
Quantized = QuantizedTensor | TrellisTensor

#: A weight as a checkpoint hands it to the engine, which reads what is still in a file.
AnyTensor = FloatArray | Quantized | StoredTensor | StoredTrellis | StoredFloats | BlockTensor
