"""A Hugging Face folder with float weights in safetensors, in one file or in shards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from lichen._core import File, FileRows, ReadError
from lichen.checkpoint import files
from lichen.checkpoint.protocol import FLOAT_TYPES, ROW_ELEMENTS
from lichen.errors import InputError
from lichen.reuse import empty
from lichen.tensor import AnyTensor, FloatArray, StoredFloats

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

#: The types that are read, as NumPy with ml_dtypes holds them.
_READABLE: dict[str, Any] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": ml_dtypes.bfloat16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


class SafetensorsFolder:
    """The tensors of a folder as they are stored; implements `Checkpoint`.

    Tensors are read with plain reads, not through a memory map: mapped pages would count as
    this process's memory, and a file that shrinks under the map would kill it.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.path = folder
        self.config = config
        self.weight_files, placement = _locate(folder)
        self._watch = files.Watch(folder / file for file in self.weight_files)
        self._shards = {file: _open_shard(folder / file) for file in self.weight_files}
        names = {file: tuple(shard.keys()) for file, shard in self._shards.items()}
        self._placement = placement or {name: file for file in names for name in names[file]}
        self._check_placement()
        self._slices = {name: self._slice(name) for name in self._placement}
        self._files = {
            file: _Places(
                folder / file,
                {name: self._slices[name] for name in held if self._placement.get(name) == file},
            )
            for file, held in names.items()
        }
        if changed := self._watch.changed():
            raise InputError(f"{folder / changed}: changed while it was being opened; try again.")

    @property
    def description(self) -> str:
        """Folder name and the element type of most tensors."""
        kinds = Counter(dtype for dtype, _ in self._slices.values() if dtype in FLOAT_TYPES)
        kind = FLOAT_TYPES[kinds.most_common(1)[0][0]] if kinds else "integer"
        return f"{_model_name(self.path, self.config)}, {kind} safetensors"

    @property
    def size_bytes(self) -> int:
        """Bytes of the safetensors files, as they were opened."""
        return self._watch.size_bytes

    def names(self) -> tuple[str, ...]:
        """Tensor names, as stored."""
        return tuple(self._placement)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._facts(name)[1]

    def dtype(self, name: str) -> str:
        """Element type in safetensors' spelling, such as "BF16"."""
        return self._facts(name)[0]

    def read(self, name: str) -> FloatArray:
        """One tensor as stored; bfloat16 comes as ml_dtypes.bfloat16."""
        dtype, shape = self._facts(name)
        file = self._files[self._placement[name]]
        tensor: FloatArray = empty(shape, _READABLE[dtype])
        try:
            file.handle.read(file.offsets[name], tensor.reshape(-1).view(np.uint8))
        except ReadError as error:
            raise InputError(f"{error} (tensor {name}).") from None
        return tensor

    def read_exact(self, name: str) -> AnyTensor:
        """As `read`, but a matrix of floats is left in its file."""
        dtype, shape = self._facts(name)
        if dtype not in FLOAT_TYPES or len(shape) != 2:
            return self.read(name)
        floats = FLOAT_TYPES[dtype]
        return StoredFloats(self.rows(name, ROW_ELEMENTS[floats]), floats)

    def rows(self, name: str, element: str, columns: int | None = None) -> FileRows:
        """A matrix, left in its file; ``columns`` where an element is not what is stored."""
        rows, stored = self._facts(name)[1]
        file = self._files[self._placement[name]]
        return FileRows(file.handle, file.offsets[name], rows, columns or stored, element)

    @cached_property
    def _digest(self) -> str:
        quantization = [f for f in files.QUANTIZATION_FILES if (self.path / f).is_file()]
        own = ["config.json", *quantization, *files.tokenizer_files(self.path), *self.weight_files]
        return files.combined_digest(self.path / name for name in own)

    def digest(self) -> str:
        """SHA-256 over config, tokenizer and weights."""
        return self._digest

    def changed(self) -> str:
        """The first weight file that is not what it was when it was opened, or ""."""
        return self._watch.changed()

    def tokenizer_files(self) -> dict[str, bytes]:
        """The folder's tokenizer files, as they are."""
        return files.tokenizer_files(self.path)

    def _facts(self, name: str) -> tuple[str, tuple[int, ...]]:
        try:
            return self._slices[name]
        except KeyError:
            raise InputError(f"{self.path}: has no tensor {name}.") from None

    def _slice(self, name: str) -> tuple[str, tuple[int, ...]]:
        part = self._shards[self._placement[name]].get_slice(name)
        dtype = part.get_dtype()
        if dtype not in _READABLE:
            raise InputError(
                f"{self.path / self._placement[name]}: tensor {name} has type {dtype};"
                f" lichen reads {', '.join(sorted(_READABLE))}."
            )
        return dtype, tuple(part.get_shape())

    def _check_placement(self) -> None:
        present = {file: set(shard.keys()) for file, shard in self._shards.items()}
        lost = [name for name, file in self._placement.items() if name not in present[file]]
        if lost:
            raise InputError(
                f"{self.path / INDEX}: {len(lost)} tensors are not in the shards that it names,"
                f" the first is {lost[0]} in {self._placement[lost[0]]}."
            )


class _Places:
    """A safetensors file, and where in it each tensor begins: ``safe_open`` does not tell.

    The file begins with the size of its header, 8 bytes, and the header in JSON; offsets in this
    count from its end on.  ``known`` is what ``safe_open``, which checks all of it, has found:
    dtype and shape of each tensor.  InputError where this file says otherwise.
    """

    def __init__(self, path: Path, known: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        try:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(size, path.stat().st_size)))
                self.handle = File(file.fileno(), str(path))
            found = {name: header[name] for name in known}
            same = all(
                (found[name]["dtype"], tuple(found[name]["shape"])) == facts
                for name, facts in known.items()
            )
            self.offsets = {n: 8 + size + int(f["data_offsets"][0]) for n, f in found.items()}
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
        except (ValueError, KeyError, TypeError, IndexError):
            same = False
        if not same:
            raise InputError(f"{path}: changed while it was being opened; try again.")


def _locate(folder: Path) -> tuple[list[str], dict[str, str] | None]:
    """Names of the weight files, and which tensor is in which where an index says so."""
    index = folder / INDEX
    if index.is_file():
        placement = files.read_json(index).get("weight_map")
        if not isinstance(placement, dict) or not placement:
            raise InputError(f"{index}: has no weight_map of tensor names to files.")
        shards = sorted({_shard_name(index, file) for file in placement.values()})
        return shards, placement
    if (folder / SINGLE).is_file():
        return [SINGLE], None
    others = sorted(p.name for p in folder.glob("*.safetensors"))
    if len(others) == 1:
        return others, None
    hint = (
        "; it holds PyTorch pickles, which can run code and are not read: save the model with"
        " save_pretrained(safe_serialization=True) first"
        if any(folder.glob("*.bin"))
        else ""
    )
    raise InputError(f"{folder}: has neither {SINGLE} nor {INDEX}{hint}.")


def _shard_name(index: Path, file: object) -> str:
    if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
        raise InputError(f"{index}: {file!r} is not the name of a safetensors file beside it.")
    if not (index.parent / file).is_file():
        raise InputError(f"{index}: names {file}, which is missing; fetch the model again.")
    return file


def _open_shard(path: Path) -> Any:
    try:
        path.open("rb").close()  # safetensors says of a file it may not read that it is not there
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        return safe_open(path, "numpy", backend="pread")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: is not a whole safetensors file ({error}); fetch the model again."
        ) from None


def _model_name(folder: Path, config: dict[str, Any]) -> str:
    """The published name where the config or the hub's cache layout tells it, else the folder's."""
    published = config.get("_name_or_path")
    if isinstance(published, str) and published and not Path(published).is_absolute():
        return published.rsplit("/", 1)[-1]
    snapshot = folder.resolve()
    if snapshot.parent.name == "snapshots" and snapshot.parent.parent.name.startswith("models--"):
        return snapshot.parent.parent.name.rsplit("--", 1)[-1]
    return snapshot.name
