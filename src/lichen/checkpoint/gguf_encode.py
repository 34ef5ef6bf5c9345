"""Weights into the block formats of GGUF: the inverse of `gguf_blocks`.

Scales and shifts are those of least squared error that a search finds (`lichen/blocks.h` of the
native core), rounded to float16 before codes are chosen for them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.checkpoint.gguf_blocks import BLOCK_TYPES, BlockType, Bytes
from lichen.row_blocks import map_row_blocks
from lichen.schemes import Scheme, dequantize_rows, in_groups
from lichen.tensor import QuantizedTensor

Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

#: Every type by its name.
TYPES = {block.name: block for block in BLOCK_TYPES.values()}

#: Codes that a symmetric type of blocks of 32 holds: the least one.
SYMMETRIC = {"Q4_0": -8, "Q5_0": -16, "Q8_0": -128}
#: Codes that a type with shifts holds, from 0 on: the greatest one.
SHIFTED = {"Q4_1": 15, "Q5_1": 31}

#: Weights [n, weights of a block] to blocks [n, bytes of a block].
Encoder = Callable[[Floats], Bytes]


def encode(
    kind: BlockType, shape: tuple[int, ...], rows: Callable[[slice], Floats]
) -> tuple[Bytes, float]:
    """A tensor in type `kind`, and the squared error of that over the sum of squares.

    rows  gives the float32 weights of the rows that it is asked for

    ValueError for weights that are not finite or that the type cannot hold.
    """
    return _filled(kind, shape, rows, lambda part, block: ENCODERS[kind.name](_blocks(kind, block)))


def encode_codes(kind: BlockType, tensor: QuantizedTensor) -> tuple[Bytes, float]:
    """As `encode`, keeping the tensor's codes; `holds` says whether `kind` can.

    Scales, and the shifts that zero points become, are rounded to float16.
    """

    def packed(part: slice, _: Floats) -> Bytes:
        codes, scales, zeros = _parts(tensor, part)
        if kind.name in SYMMETRIC:
            signed = codes - zeros
            return _pack_symmetric(kind.name, signed.reshape(-1, 32), scales.reshape(-1))
        low = tensor.scheme.low
        shifts = (low - zeros[:, ::32]) * scales
        return _pack_shifted(
            kind.name, (codes - low).reshape(-1, 32), scales.reshape(-1), shifts.reshape(-1)
        )

    return _filled(kind, tensor.shape, lambda part: dequantize_rows(tensor, part), packed)


def holds(kind: BlockType, scheme: Scheme, columns: int) -> bool:
    """Whether `kind` has a scheme's codes, each of its blocks of 32 within one group of a row."""
    if columns % 32 or (scheme.group_size or 32) % 32:
        return False
    span = scheme.high - scheme.low
    if kind.name in SYMMETRIC:
        return SYMMETRIC[kind.name] <= (scheme.low if scheme.symmetric else -span)
    return kind.name in SHIFTED and SHIFTED[kind.name] >= span


def _filled(
    kind: BlockType,
    shape: tuple[int, ...],
    rows: Callable[[slice], Floats],
    packed: Callable[[slice, Floats], Bytes],
) -> tuple[Bytes, float]:
    columns = int(np.prod(shape[1:], dtype=np.int64))
    data = np.empty((shape[0], kind.nbytes(columns)), np.uint8)

    def fill(part: slice) -> tuple[float, float]:
        block = rows(part)
        if not np.isfinite(block).all():
            raise ValueError("weights are not finite")
        data[part] = packed(part, block).reshape(len(block), -1)
        stored = kind.decode(data[part].reshape(-1), block.shape).astype(np.float32, copy=False)
        if not np.isfinite(stored).all():
            raise ValueError(f"weights are too large for {kind.name}")
        return _sum_of_squares(stored - block), _sum_of_squares(block)

    error, scale = np.sum(map_row_blocks(fill, shape), axis=0)
    return data, float(error / scale) if scale else 0.0


def _sum_of_squares(block: Floats) -> float:
    return float(np.square(block).sum())


def _blocks(kind: BlockType, block: Floats) -> Floats:
    return np.ascontiguousarray(block, np.float32).reshape(-1, kind.weights)


def _parts(
    tensor: QuantizedTensor, part: slice
) -> tuple[npt.NDArray[np.int16], Floats, npt.NDArray[np.int16]]:
    """Codes and zero points [rows, in], and the scale of each block of 32 [rows, in / 32]."""
    codes = tensor.codes[part].astype(np.int16)
    rows, columns = codes.shape
    own = part if len(tensor.scales) > 1 else slice(None)
    scales = np.broadcast_to(tensor.scales[own], (rows, tensor.scales.shape[1]))
    blocks = np.repeat(scales, columns // 32 // scales.shape[1], axis=1)
    zeros = np.zeros_like(codes)
    if tensor.zeros is not None:
        grouped = in_groups(zeros, scales.shape[1])
        grouped += tensor.zeros[own, :, None]
    return codes, blocks, zeros


# --- layouts -----------------------------------------------------------------------------------


def _pack_symmetric(name: str, codes: npt.NDArray[np.integer], scales: Floats) -> Bytes:
    """Blocks of codes [n, 32] and scales [n]."""
    parts = [_halves(scales)]
    if name == "Q8_0":
        return np.concatenate([*parts, codes.astype(np.int8).view(np.uint8)], axis=1)
    return _with_low_codes(parts, (codes - SYMMETRIC[name]).astype(np.uint8), name == "Q5_0")


def _pack_shifted(
    name: str, codes: npt.NDArray[np.integer], scales: Floats, shifts: Floats
) -> Bytes:
    """Blocks of codes [n, 32], from 0 on, with scales and shifts [n]."""
    parts = [_halves(scales), _halves(shifts)]
    return _with_low_codes(parts, codes.astype(np.uint8), name == "Q5_1")


def _with_low_codes(parts: list[Bytes], codes: Bytes, fifth: bool) -> Bytes:
    """Codes of 4 bits after the scales; of 5, their highest bits come first."""
    if fifth:
        parts.append(np.packbits(codes >> 4, axis=1, bitorder="little"))
    return np.concatenate([*parts, _nibbles(codes)], axis=1)


def _nibbles(codes: Bytes) -> Bytes:
    """[n, 2 m] codes to [n, m] bytes: the low bits of the first half in the low nibbles."""
    first, second = np.split(codes, 2, axis=1)
    packed: Bytes = (first & np.uint8(15)) | second << np.uint8(4)
    return packed


def _halves(numbers: Floats) -> Bytes:
    """float16 [n, 2 bytes] of numbers [n]; infinite for those that it does not hold."""
    with np.errstate(over="ignore"):
        return numbers.astype("<f2").reshape(-1, 1).view(np.uint8)


def _low_and_high_bits(scales: Bytes, minima: Bytes) -> Bytes:
    """8 scales and 8 minima of 6 bits in 12 bytes, as `gguf_blocks` describes them."""
    first = scales[:, :4] | (scales[:, 4:] & 48) << 2
    second = minima[:, :4] | (minima[:, 4:] & 48) << 2
    third = (scales[:, 4:] & 15) | minima[:, 4:] << 4
    return np.concatenate([first, second, third], axis=1)


# --- searches ----------------------------------------------------------------------------------


def _symmetric(name: str) -> Encoder:
    low = SYMMETRIC[name]

    def encoder(weights: Floats) -> Bytes:
        scales = np.empty((len(weights), 1), np.float32)
        _core.fit_symmetric(weights, low, scales)
        codes = _rounded(weights, _as_half(scales), low, -low - 1)
        return _pack_symmetric(name, codes, scales[:, 0])

    return encoder


def _shifted(name: str) -> Encoder:
    high = SHIFTED[name]

    def encoder(weights: Floats) -> Bytes:
        scales, shifts = np.empty((2, len(weights), 1), np.float32)
        _core.fit_affine(weights, high, scales, shifts)
        codes = _rounded(weights - _as_half(shifts), _as_half(scales), 0, high)
        return _pack_shifted(name, codes, scales[:, 0], shifts[:, 0])

    return encoder


def _as_half(numbers: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return numbers.astype(np.float16).astype(np.float32)


def _rounded(weights: Floats, scales: Floats, low: int, high: int) -> Codes:
    """The code next to each weight; 0, or the next to it, where the scale is 0."""
    with np.errstate(all="ignore"):
        codes = np.divide(weights, scales, out=np.zeros_like(weights), where=scales != 0)
    np.rint(codes, out=codes)
    return np.clip(codes, low, high, out=codes).astype(np.int8)


def _q4_or_5_k(high: int) -> Encoder:
    def encoder(weights: Floats) -> Bytes:
        count = len(weights)
        units = np.empty((count, 2), np.float32)
        scales, minima = np.empty((2, count, 8), np.uint8)
        codes = np.empty((count, 256), np.uint8)
        _core.fit_affine_super(weights, high, units, scales, minima, codes)
        parts = [_halves(units[:, 0]), _halves(units[:, 1]), _low_and_high_bits(scales, minima)]
        if high > 15:
            # Bit g of byte i is the fifth of weight i of block g.
            fifths = (codes >> 4).reshape(count, 8, 32)
            parts.append(np.packbits(fifths, axis=1, bitorder="little").reshape(count, 32))
        return np.concatenate([*parts, _nibbles(codes.reshape(-1, 64)).reshape(count, 128)], axis=1)

    return encoder


def _q6_k(weights: Floats) -> Bytes:
    count = len(weights)
    units = np.empty((count, 1), np.float32)
    scales, codes = np.empty((count, 16), np.int8), np.empty((count, 256), np.int8)
    _core.fit_symmetric_super(weights, -32, units, scales, codes)
    quarters = (codes + 32).view(np.uint8).reshape(-1, 4, 32)  # of each half
    low = _nibbles(quarters.reshape(-1, 128)).reshape(count, 128)
    high = (quarters >> 4) << np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    high = np.bitwise_or.reduce(high, axis=1).reshape(count, 64)
    return np.concatenate([low, high, scales.view(np.uint8), _halves(units[:, 0])], axis=1)


def _floats(kind: BlockType) -> Encoder:
    def encoder(weights: Floats) -> Bytes:
        with np.errstate(over="ignore"):
            return weights.astype(kind.element).view(np.uint8)

    return encoder


#: How weights become a type's blocks.
ENCODERS: dict[str, Encoder] = {
    **{name: _floats(TYPES[name]) for name in ("F32", "F16", "BF16")},
    **{name: _symmetric(name) for name in SYMMETRIC},
    **{name: _shifted(name) for name in SHIFTED},
    "Q4_K": _q4_or_5_k(15),
    "Q5_K": _q4_or_5_k(31),
    "Q6_K": _q6_k,
}
