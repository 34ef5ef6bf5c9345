"""The block formats of GGUF: layout, codes with their scales, and the float32 they stand for.

A tensor's rows are cut into blocks of 32 or 256 weights; a block holds packed codes and its
float16 scales.  Layouts: ``ggml-common.h`` of ggml (MIT licence); every result is bit-equal to the
``gguf`` package's ``quants.py``, which the tests take as oracle.

Each function takes blocks uint8 [n, type bytes] and gives codes [n, block weights], scales and,
where the format has them, shifts [n, groups]: ``w = code * scale + shift``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen.tensor import BlockTensor

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
Parts = tuple[Codes, Floats, "Floats | None"]

#: Weights unpacked at a time, so that the intermediate arrays stay in the cache.
_CHUNK_WEIGHTS = 1 << 17


@dataclass(frozen=True)
class BlockType:
    """A GGUF tensor type: its number in the file, its name, and how weights become bytes."""

    number: int
    name: str
    weights: int
    size_bytes: int
    unpack: Callable[[Bytes], Parts] | None = None
    element: Any = None

    def nbytes(self, count: int) -> int:
        """Bytes of `count` weights."""
        return count // self.weights * self.size_bytes

    def decode(self, data: Bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Weights from their bytes: plain floats as stored, blocks as float32."""
        if self.unpack is None:
            floats: npt.NDArray[Any] = data.view(self.element)
            return floats.reshape(shape)
        out = np.empty((len(data) // self.size_bytes, self.weights), np.float32)
        # A damaged file can hold infinite scales; that they make NaN is not worth a warning.
        with np.errstate(invalid="ignore", over="ignore"):
            for start, (codes, scales, shifts) in self._pieces(data):
                floats = out[start : start + len(codes)].reshape(*scales.shape, -1)
                np.multiply(codes.reshape(floats.shape), scales[:, :, None], out=floats)
                if shifts is not None:
                    floats += shifts[:, :, None]
        return out.reshape(shape)

    def blocks(self, data: Bytes, shape: tuple[int, int]) -> BlockTensor:
        """The same weights as codes with scales; only for types made of blocks."""
        codes = np.empty((len(data) // self.size_bytes, self.weights), np.int8)
        scales: list[Floats] = []
        shifts: list[Floats] = []
        with np.errstate(invalid="ignore", over="ignore"):
            for start, parts in self._pieces(data):
                codes[start : start + len(parts[0])] = parts[0]
                scales.append(parts[1])
                shifts += [] if parts[2] is None else [parts[2]]
        rows = shape[0]
        return BlockTensor(
            codes.reshape(shape),
            np.concatenate(scales).reshape(rows, -1),
            np.concatenate(shifts).reshape(rows, -1) if shifts else None,
            4 if self.name.startswith("Q4") else 8,
            self.name,
        )

    def _pieces(self, data: Bytes) -> Iterator[tuple[int, Parts]]:
        assert self.unpack is not None
        blocks = data.reshape(-1, self.size_bytes)
        step = max(1, _CHUNK_WEIGHTS // self.weights)
        for start in range(0, len(blocks), step):
            yield start, self.unpack(blocks[start : start + step])


def _half(blocks: Bytes, at: int) -> Floats:
    """The float16 at byte `at` of each block, as float32 [n, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _part(blocks: Bytes, start: int, stop: int) -> Bytes:
    """Bytes [start, stop) of each block, contiguous, so that what follows runs in long loops."""
    return np.ascontiguousarray(blocks[:, start:stop])


def _nibbles(packed: Bytes) -> Bytes:
    """[n, 16] bytes to [n, 32] codes: the low nibbles of all bytes, then the high ones."""
    codes = np.empty((len(packed), 2, packed.shape[1]), np.uint8)
    codes[:, 0] = packed & 15
    codes[:, 1] = packed >> 4
    return codes.reshape(len(packed), -1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """[n, 4] bytes to [n, 32]: bit i as 0 or 16."""
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    return np.left_shift(bits, 4, out=bits)


def _q4_0(blocks: Bytes) -> Parts:
    codes = _nibbles(_part(blocks, 2, 18)).view(np.int8)
    np.subtract(codes, 8, out=codes)
    return codes, _half(blocks, 0), None


def _q4_1(blocks: Bytes) -> Parts:
    codes = _nibbles(_part(blocks, 4, 20)).view(np.int8)
    return codes, _half(blocks, 0), _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Parts:
    codes = _nibbles(_part(blocks, 6, 22))
    codes |= _fifth_bits(_part(blocks, 2, 6))
    signed = codes.view(np.int8)
    np.subtract(signed, 16, out=signed)
    return signed, _half(blocks, 0), None


def _q5_1(blocks: Bytes) -> Parts:
    codes = _nibbles(_part(blocks, 8, 24))
    codes |= _fifth_bits(_part(blocks, 4, 8))
    return codes.view(np.int8), _half(blocks, 0), _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Parts:
    return _part(blocks, 2, 34).view(np.int8), _half(blocks, 0), None


def _scales_and_minima(packed: Bytes) -> tuple[Floats, Floats]:
    """[n, 12] bytes to 8 scales and 8 minima of 6 bits, float32 [n, 8] each.

    Bytes 0-3 and 4-7 hold the first four scales and minima in their low 6 bits and the top two
    bits of the last four; bytes 8-11 hold the low nibbles of those.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _scales_and_shifts(blocks: Bytes) -> tuple[Floats, Floats]:
    """The common header of Q4_K and Q5_K; both are exact in float32."""
    scales, minima = _scales_and_minima(_part(blocks, 4, 16))
    return scales * _half(blocks, 0), minima * -_half(blocks, 2)


def _q4_k(blocks: Bytes) -> Parts:
    codes = _nibbles(_part(blocks, 16, 144).reshape(-1, 32))
    return codes.view(np.int8).reshape(-1, 256), *_scales_and_shifts(blocks)


def _q5_k(blocks: Bytes) -> Parts:
    codes = _nibbles(_part(blocks, 48, 176).reshape(-1, 32)).reshape(-1, 8, 32)
    high = _part(blocks, 16, 48)
    for group in range(8):
        codes[:, group] |= (high >> group & 1) << 4
    return codes.view(np.int8).reshape(-1, 256), *_scales_and_shifts(blocks)


def _q6_k(blocks: Bytes) -> Parts:
    codes = _nibbles(_part(blocks, 0, 128).reshape(-1, 64)).reshape(-1, 2, 4, 32)
    high = _part(blocks, 128, 192).reshape(-1, 2, 32)
    for group in range(4):
        codes[:, :, group] |= (high >> (2 * group) & 3) << 4
    signed = codes.view(np.int8)
    np.subtract(signed, 32, out=signed)
    scales = _part(blocks, 192, 208).view(np.int8) * _half(blocks, 208)
    return signed.reshape(-1, 256), scales, None


#: Every type that lichen reads, by its number in the file (``enum ggml_type``).
BLOCK_TYPES = {
    block.number: block
    for block in (
        BlockType(0, "F32", 1, 4, element=np.dtype("<f4")),
        BlockType(1, "F16", 1, 2, element=np.dtype("<f2")),
        BlockType(2, "Q4_0", 32, 2 + 16, _q4_0),
        BlockType(3, "Q4_1", 32, 2 + 2 + 16, _q4_1),
        BlockType(6, "Q5_0", 32, 2 + 4 + 16, _q5_0),
        BlockType(7, "Q5_1", 32, 2 + 2 + 4 + 16, _q5_1),
        BlockType(8, "Q8_0", 32, 2 + 32, _q8_0),
        BlockType(12, "Q4_K", 256, 2 + 2 + 12 + 128, _q4_k),
        BlockType(13, "Q5_K", 256, 2 + 2 + 12 + 32 + 128, _q5_k),
        BlockType(14, "Q6_K", 256, 128 + 64 + 16 + 2, _q6_k),
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
