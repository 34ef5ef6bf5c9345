"""A GGUF file (version 3, little-endian), written front to back with one tensor in memory.

Layout: ggml ``docs/gguf.md``; `gguf_file` describes and reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from lichen.checkpoint.gguf_blocks import BlockType, Bytes

ALIGNMENT = 32

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _UINT64 = 4, 5, 6, 7, 8, 9, 10

Metadata = Mapping[str, Any]


@dataclass(frozen=True)
class TensorPlan:
    """A tensor that will be written: shape with rows first, and what makes its bytes."""

    name: str
    shape: tuple[int, ...]
    type: BlockType
    make: Callable[[], Bytes]

    @property
    def nbytes(self) -> int:
        """Bytes in the file, without padding."""
        return self.type.nbytes(int(np.prod(self.shape, dtype=np.int64)))


def write_gguf(file: BinaryIO, metadata: Metadata, tensors: Iterable[TensorPlan]) -> None:
    """Write a whole file; every tensor is made when its turn comes.

    metadata  bool, str, int (32 bits, or 64 where it needs them), float (32 bits), or a list of
              one of these; whole numbers in a list are signed, as token types are
    """
    plans = list(tensors)
    file.write(header(metadata, plans))
    for plan in plans:
        data = plan.make().reshape(-1)
        if data.size != plan.nbytes:
            raise ValueError(f"{plan.name}: {data.size} bytes were made, not {plan.nbytes}")
        file.write(data.data)
        file.write(bytes(-data.size % ALIGNMENT))
        del data  # or it would be held while the next one is made


def header(metadata: Metadata, plans: list[TensorPlan]) -> bytes:
    """Everything before the first tensor, padding included."""
    parts = [struct.pack("<4sIQQ", b"GGUF", 3, len(plans), len(metadata))]
    parts += [_string(key) + _typed(key, value) for key, value in metadata.items()]
    offset = 0
    for plan in plans:
        dimensions = tuple(reversed(plan.shape))
        parts.append(_string(plan.name))
        parts.append(struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions))
        parts.append(struct.pack("<IQ", plan.type.number, offset))
        offset += padded(plan.nbytes)
    head = b"".join(parts)
    return head + bytes(-len(head) % ALIGNMENT)


def padded(count: int) -> int:
    """Bytes up to the next place where a tensor may begin."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _typed(key: str, value: Any) -> bytes:
    if not isinstance(value, list):
        kind = _kind(key, value)
        return struct.pack("<I", kind) + _packed(kind, value)
    if not value:
        raise ValueError(f"metadata {key} is an empty list, which has no type")
    kind = _INT32 if type(value[0]) is int else _kind(key, value[0])
    items = b"".join(_packed(kind, item) for item in value)
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + items


def _kind(key: str, value: Any) -> int:
    match value:
        case bool():
            return _BOOL
        case str():
            return _STRING
        case float():
            return _FLOAT32
        case int():
            return _INT32 if value < 0 else _UINT32 if value < 1 << 32 else _UINT64
    raise ValueError(f"metadata {key} cannot be a {type(value).__name__}")


def _packed(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _string(value)
    codes = {_UINT32: "I", _INT32: "i", _FLOAT32: "f", _BOOL: "?", _UINT64: "Q"}
    return struct.pack(f"<{codes[kind]}", value)
