"""The GGUF container: metadata and the table of tensors, read without trusting any number in it.

Layout (ggml ``docs/gguf.md``, versions 2 and 3), little-endian: "GGUF", version u32, tensor count
u64, metadata count u64; the metadata as key, type, value; for each tensor name, dimensions
(fastest first), type and offset; padding to the alignment; the tensors' bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lichen._core import File, FileRows, ReadError
from lichen.checkpoint.gguf_blocks import BLOCK_TYPES, UNREAD_TYPES, BlockType
from lichen.errors import InputError
from lichen.reuse import empty

_STRING, _ARRAY = 8, 9
_SCALARS = {
    number: struct.Struct(f"<{code}")
    for number, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip

#: Fewest bytes that a metadata entry (key length, type, value) and a tensor entry (name length,
#: number of dimensions, one dimension, type, offset) can take.
_LEAST_ENTRY, _LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 8 + 4 + 8
#: Far more than any model has; a header that claims more is damaged, and would take minutes.
_MAX_DIMENSIONS = 4
_MAX_NAME = 1 << 16
_MAX_ENTRIES = 1 << 16
_MAX_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of the table; shape with rows first, offset from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: BlockType
    offset: int
    nbytes: int


@dataclass(frozen=True)
class GgufFile:
    """An open GGUF file's table of contents."""

    path: Path
    handle: File
    size_bytes: int
    metadata: dict[str, Any]
    tensors: dict[str, TensorEntry]

    def read(self, entry: TensorEntry) -> npt.NDArray[Any]:
        """A tensor's weights: floats as stored, blocks as float32."""
        return entry.type.decode(self.read_bytes(entry), entry.shape)

    def rows(self, entry: TensorEntry, columns: int, element: str) -> FileRows:
        """A matrix, left in the file, whose rows are ``columns`` of ``element``."""
        return FileRows(self.handle, entry.offset, entry.shape[0], columns, element)

    def read_bytes(self, entry: TensorEntry) -> npt.NDArray[np.uint8]:
        """A tensor as it lies in the file.

        Plain reads rather than a memory map: mapped pages would count as this process's memory,
        and a file that shrinks under the map would kill it.
        """
        data = empty(entry.nbytes, np.uint8)
        try:
            self.handle.read(entry.offset, data)
        except ReadError as error:
            raise InputError(f"{error} (tensor {entry.name}).") from None
        return data


def read_gguf(path: Path) -> GgufFile:
    """Read metadata and tensor table; InputError for anything that is not a whole GGUF file."""
    try:
        with _Cursor(path) as cursor:
            return _read(path, cursor)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except MemoryError:
        raise InputError(f"{path}: is not a whole GGUF file (a size in it is absurd).") from None


def _read(path: Path, cursor: _Cursor) -> GgufFile:
    if cursor.take(4) != b"GGUF":
        raise cursor.fault("it does not begin with GGUF")
    version = cursor.scalar(4)
    if version not in (2, 3):
        raise InputError(
            f"{path}: GGUF version {version} (or a big-endian file); lichen reads versions 2 and 3."
        )
    tensor_count, entry_count = cursor.scalar(10), cursor.scalar(10)
    cursor.expect(tensor_count, _MAX_ENTRIES, _LEAST_TENSOR, "tensors")
    cursor.expect(entry_count, _MAX_ENTRIES, _LEAST_ENTRY, "metadata entries")
    metadata = _metadata(cursor, entry_count)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
        raise cursor.fault(f"its alignment is {alignment!r}")
    tensors = _tensors(cursor, tensor_count, alignment)
    return GgufFile(path, cursor.handle(), cursor.size, metadata, tensors)


def _metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for _ in range(count):
        key = cursor.string(_MAX_NAME)
        if key in metadata:
            raise cursor.fault(f"metadata {key!r} comes twice")
        metadata[key] = _value(cursor, key, cursor.scalar(4))
    return metadata


def _value(cursor: _Cursor, key: str, kind: int) -> Any:
    if kind == _STRING:
        return cursor.string()
    if kind == _ARRAY:
        return _array(cursor, key)
    if kind not in _SCALARS:
        raise cursor.fault(f"metadata {key!r} has the unknown type {kind}")
    return cursor.scalar(kind)


def _array(cursor: _Cursor, key: str) -> list[Any]:
    kind, count = cursor.scalar(4), cursor.scalar(10)
    if kind == _STRING:
        cursor.expect(count, _MAX_ELEMENTS, 8, f"strings in {key!r}")
        return cursor.strings(count)
    if kind not in _SCALARS:
        raise cursor.fault(f"metadata {key!r} is an array of the unreadable type {kind}")
    layout = _SCALARS[kind]
    cursor.expect(count, _MAX_ELEMENTS, layout.size, f"values in {key!r}")
    data = cursor.take(count * layout.size)
    return [value for (value,) in layout.iter_unpack(data)]


def _tensors(cursor: _Cursor, count: int, alignment: int) -> dict[str, TensorEntry]:
    entries = [_entry(cursor) for _ in range(count)]
    start = -(-cursor.position // alignment) * alignment
    tensors: dict[str, TensorEntry] = {}
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset % alignment or entry.offset < end:
            raise cursor.fault(f"tensor {entry.name!r} lies at the wrong place")
        end = entry.offset + entry.nbytes
        if start + end > cursor.size:
            raise cursor.fault(f"tensor {entry.name!r} ends at byte {start + end} of {cursor.size}")
        placed = TensorEntry(
            entry.name, entry.shape, entry.type, start + entry.offset, entry.nbytes
        )
        if tensors.setdefault(entry.name, placed) is not placed:
            raise cursor.fault(f"tensor {entry.name!r} comes twice")
    return tensors


def _entry(cursor: _Cursor) -> TensorEntry:
    """A row of the table, its offset still counted from the start of the data."""
    name = cursor.string(_MAX_NAME)
    rank = cursor.scalar(4)
    if not 1 <= rank <= _MAX_DIMENSIONS:
        raise cursor.fault(f"tensor {name!r} has {rank} dimensions")
    dimensions = [cursor.scalar(10) for _ in range(rank)]
    kind, offset = cursor.scalar(4), cursor.scalar(10)
    if kind not in BLOCK_TYPES:
        known = ", ".join(block.name for block in BLOCK_TYPES.values())
        raise InputError(
            f"{cursor.path}: tensor {name!r} has type {UNREAD_TYPES.get(kind, kind)};"
            f" lichen reads {known}."
        )
    block = BLOCK_TYPES[kind]
    count = 1
    for dimension in dimensions:
        count *= dimension
    if count == 0 or dimensions[0] % block.weights or block.nbytes(count) > cursor.size:
        raise cursor.fault(f"tensor {name!r} of type {block.name} has shape {dimensions}")
    return TensorEntry(name, tuple(reversed(dimensions)), block, offset, block.nbytes(count))


class _Cursor:
    """Sequential reading that knows how many bytes are left, so no count is taken on trust."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.position = 0
        self._file: BinaryIO = path.open("rb", buffering=1 << 20)

    def __enter__(self) -> _Cursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def handle(self) -> File:
        """The file, to be read on from when this is closed."""
        return File(self._file.fileno(), str(self.path))

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.size - self.position:
            raise self.fault(f"it ends at byte {self.size}, before its header does")
        data = self._file.read(count)
        if len(data) != count:
            raise self.fault("it became shorter while it was read")
        self.position += count
        return data

    def scalar(self, kind: int) -> Any:
        """The next number, of GGUF metadata type `kind`."""
        layout = _SCALARS[kind]
        return layout.unpack(self.take(layout.size))[0]

    def string(self, longest: int | None = None) -> str:
        """The next length-prefixed UTF-8 string."""
        length = self.scalar(10)
        if longest is not None and length > longest:
            raise self.fault(f"a name in it has {length} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.fault(f"the string before byte {self.position} is not UTF-8") from None

    def strings(self, count: int) -> list[str]:
        """The next strings; as `string`, but a vocabulary has 300,000 of them."""
        read, position, found = self._file.read, self.position, list[bytes]()
        for _ in range(count):
            length = int.from_bytes(read(8), "little")
            position += 8 + length
            if position > self.size:
                raise self.fault(f"it ends at byte {self.size}, before its header does")
            found.append(read(length))
        if self._file.tell() != position:
            raise self.fault("it became shorter while it was read")
        self.position = position
        try:
            return [text.decode() for text in found]
        except UnicodeDecodeError:
            raise self.fault(f"a string before byte {position} is not UTF-8") from None

    def expect(self, count: int, most: int, least: int, what: str) -> None:
        """At most `most` things, of at least `least` bytes each, that still fit in."""
        if count > most or count * least > self.size - self.position:
            raise self.fault(f"it claims {count} {what}")

    def fault(self, reason: str) -> InputError:
        """The error for a damaged file."""
        return InputError(
            f"{self.path}: is not a whole GGUF file ({reason}); fetch or convert it again."
        )
