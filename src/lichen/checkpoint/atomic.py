"""Writing a model folder, or a file, that is either whole or not there.

Everything goes into a hidden folder or file beside the target, is flushed to the disk, and takes
the target's name in one rename.  A crash leaves the old state, at worst with something hidden
beside it, which the next write removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lichen.checkpoint.protocol import Checkpoint
from lichen.errors import InputError, ResourceError

SHARD_BYTES = 4 << 30

#: Room kept for a shard's header, so that tensors can stream past before all names are known.
#: safetensors allows a header to end in spaces; this holds some 1,000 tensors.
_HEADER_BYTES = 128 << 10

#: What is written before it is brought to the disk, which so works while tensors are made.
_SYNC_BYTES = 32 << 20

#: What waits to be written, at most, but for one tensor that is larger.
_WAITING_BYTES = 32 << 20

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AtomicFolder:
    """``with AtomicFolder(target) as folder``: what is written into `folder` becomes `target`.

    A target with something in it is refused with InputError, unless ``force``: then it is kept
    until the new folder is whole.  So is one that another process is writing.  A full disk becomes
    ResourceError.
    """

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self.target = target.resolve()
        if not self.target.name:
            raise InputError(f"{target}: is not a folder that can be written; choose another.")
        self._force = force
        self._partial = self.target.with_name(f".{self.target.name}.partial")
        self._old = self.target.with_name(f".{self.target.name}.old")
        self._gone = self.target.with_name(f".{self.target.name}.gone")
        self._lock: int | None = None

    def __enter__(self) -> Path:
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise _translate(error, self.target) from error
        try:
            self._restore()
            self._check_target()
            self._begin()
        except BaseException:
            with contextlib.suppress(OSError):
                self._partial.rmdir()  # which fails where something in it is to be gone on with
            self._drop_lock()
            raise
        return self._partial

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
            else:
                self._give_up(error)
        except OSError as failed:
            raise self._translated(failed) from failed
        finally:
            self._drop_lock()
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise self._translated(error) from error

    def _begin(self) -> None:
        """Make the folder ready to be written into: a crash may have left something in it."""
        self._clear()

    def _finish(self) -> None:
        """Give the folder its name."""
        try:
            flush(self._partial)
            self._check_target()  # somebody else may have written there meanwhile
            self._rename()
        except BaseException as error:
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """What becomes of a folder that is not whole."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _clear(self, keep: Callable[[str], bool] = lambda name: False) -> None:
        for path in self._partial.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not keep(path.name):
                path.unlink()

    def _take_lock(self) -> None:
        """Lock the folder itself: there is no file to be left over, and the lock of a process ends
        with it."""
        self._lock = os.open(self._partial, os.O_RDONLY)
        try:
            lock(self._lock)
            mine = os.path.samestat(os.fstat(self._lock), os.stat(self._partial))
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:  # locked by another process, or renamed by one before it could be locked
            self._drop_lock()
            raise InputError(f"{self.target}: another lichen is writing it; wait for that one.")

    def _drop_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _translated(self, error: OSError) -> Exception:
        """What an error of the file system means for the target."""
        return _translate(error, self.target)

    def _check_target(self) -> None:
        if not self.target.exists():
            return
        if not self.target.is_dir():
            raise InputError(f"{self.target}: is a file; give a folder to write to.")
        if os.path.ismount(self.target):
            raise InputError(f"{self.target}: is where a disk is mounted; give a folder inside it.")
        content = list(self.target.iterdir())
        if content and not self._force:
            raise InputError(f"{self.target}: is not empty; choose another folder or use --force.")
        # --force with a mistyped path must not cost somebody a home folder.
        if any(entry.is_dir() for entry in content):
            raise InputError(
                f"{self.target}: holds other folders, so it is no model folder and --force will"
                " not replace it; choose another folder."
            )

    def _rename(self) -> None:
        try:
            if self.target.exists():
                self.target.rename(self._old)
            self._partial.rename(self.target)
            to_disk(self.target.parent)
        finally:
            self._restore()

    def _restore(self) -> None:
        """Put the old folder back if something struck between the two renames; else it goes.

        By another name, so that what is left of it when that is cut short is never put back.
        """
        shutil.rmtree(self._gone, ignore_errors=True)
        if self._old.exists():
            self._old.rename(self._gone if self.target.exists() else self.target)
        shutil.rmtree(self._gone, ignore_errors=True)


class AtomicFile:
    """``with AtomicFile(target) as file``: what is written becomes `target` when it is whole.

    A target that is there is refused with InputError, unless ``force``: then it is kept until the
    new file is whole.  A full disk becomes ResourceError.
    """

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self.target = target.resolve()
        self._force = force
        self._partial = self.target.with_name(f".{self.target.name}.partial-{os.getpid()}")

    def __enter__(self) -> BinaryIO:
        self._check_target()
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            for left_over in _left_over(self.target):
                left_over.unlink()
            self._file = self._partial.open("wb")
        except OSError as error:
            raise _translate(error, self.target) from error
        return self._file

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._check_target()  # somebody else may have written there meanwhile
                self._partial.replace(self.target)
                to_disk(self.target.parent)
        except OSError as failed:
            raise _translate(failed, self.target) from failed
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise _translate(error, self.target) from error

    def _check_target(self) -> None:
        if self.target.is_dir():
            raise InputError(f"{self.target}: is a folder; give a file to write to.")
        if self.target.exists() and not self._force:
            raise InputError(f"{self.target}: is there already; choose another or use --force.")


def _left_over(target: Path) -> Iterator[Path]:
    """Partial files whose process is gone."""
    prefix = f".{target.name}.partial-"
    for path in target.parent.glob(f"{glob.escape(prefix)}*"):
        process = path.name.removeprefix(prefix)
        if process.isdigit() and (int(process) == os.getpid() or not _alive(int(process))):
            yield path


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def lock(descriptor: int) -> None:
    """Lock, or BlockingIOError where another process has; some file systems have no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


def _translate(error: OSError, target: Path) -> Exception:
    if error.errno in _DISK_FULL:
        return ResourceError(
            f"{target}: the disk is full; free some space and run it again. Nothing was changed."
        )
    return InputError(f"{target}: cannot be written ({error.strerror}).")


def flush(folder: Path) -> None:
    """Bring every file of a folder, and the folder's own entries, to the disk."""
    for path in folder.rglob("*"):
        to_disk(path)
    to_disk(folder)


def to_disk(path: Path) -> None:
    """Bring a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Rows:
    """Some rows of a tensor that is written piece by piece: these follow those before.

    array  [rows, ...]
    of     rows of the whole tensor
    """

    array: npt.NDArray[Any]
    of: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole tensor, as the next two."""
        return (self.of, *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return self.dtype.itemsize * math.prod(self.shape)


#: A tensor, or some of its rows.
Written = npt.NDArray[Any] | Rows


@dataclass(frozen=True)
class _Due:
    """What is still to come of a tensor that is written piece by piece."""

    name: str
    dtype: np.dtype[Any]
    row: tuple[int, ...]
    rows: int


def write_shards(
    folder: Path,
    tensors: Iterator[tuple[str, Written]],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write tensors as they come; give back the bytes of all of them.

    Each is written while the next ones are made.  One that comes as `Rows` has as many entries as
    pieces, one behind the other.  Makes ``model.safetensors``, or numbered shards
    of at most `shard_bytes` (or one tensor) with ``model.safetensors.index.json``.
    """
    shards: list[SafetensorsWriter] = []
    try:
        for name, tensor in tensors:
            if not shards or not shards[-1].fits(name, tensor, shard_bytes):
                if shards:
                    shards[-1].close()
                shards.append(SafetensorsWriter(folder / f"shard-{len(shards) + 1:05}.partial"))
            shards[-1].write(name, tensor)
            del tensor  # or it would be held for another one
        if shards:
            shards[-1].close()
    except BaseException:
        if shards:
            shards[-1].abandon()
        raise
    return _name_shards(folder, shards)


def _name_shards(folder: Path, shards: list[SafetensorsWriter]) -> int:
    """Give shards their final names, which say how many there are."""
    if not shards:
        raise ValueError("there are no tensors to write")
    size = sum(shard.data_bytes for shard in shards)
    if len(shards) == 1:
        shards[0].path.rename(folder / "model.safetensors")
        return size
    placement: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = shard_name(number, len(shards))
        shard.path.rename(folder / file)
        placement |= dict.fromkeys(shard.names, file)
    write_index(folder, placement, size)
    return size


def shard_name(number: int, total: int) -> str:
    """What the weight files of a model are called, counted from 1."""
    return f"model-{number:05}-of-{total:05}.safetensors"


def write_index(folder: Path, placement: Mapping[str, str], size: int) -> None:
    """Say which tensor is in which file; ``size`` is the bytes of all tensors."""
    index = {"metadata": {"total_size": size}, "weight_map": placement}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps(index, indent=2) + "\n", encoding="utf-8"
    )


class SafetensorsWriter:
    """One safetensors file, written front to back; the header goes into room kept for it.

    Format: u64 header length, JSON header {name: {dtype, shape, data_offsets}}, the tensors.

    A thread of its own writes; what it could not do is raised by a later call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data_bytes = self._unsynced = 0
        self._due: _Due | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._waiting: deque[tuple[int, Future[None]]] = deque()  # bytes, the oldest first
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="to-disk")
        self._syncing: Future[None] | None = None
        self._header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self._room = _HEADER_BYTES - len(json.dumps(self._header)) - 8
        self._file: BinaryIO = path.open("wb")
        self._file.seek(_HEADER_BYTES)

    @property
    def names(self) -> list[str]:
        """Names of the tensors written so far."""
        return [name for name in self._header if name != "__metadata__"]

    def fits(self, name: str, tensor: Written, limit: int) -> bool:
        """Whether the tensor still belongs into this file."""
        if self._due:
            return True
        room = self._room >= len(json.dumps({name: self._entry(tensor)}))
        return room and (not self.data_bytes or self.data_bytes + tensor.nbytes <= limit)

    def write(self, name: str, tensor: Written) -> None:
        """Append one tensor, or more rows of the last one; it must not be changed any more."""
        if self._due is None:
            self._enter(name, tensor)
        if self._due is not None:
            self._take(name, tensor)
        array = tensor.array if isinstance(tensor, Rows) else tensor
        while self._waiting and self._waiting_bytes() + array.nbytes > _WAITING_BYTES:
            self._waiting.popleft()[1].result()
        self._waiting.append((array.nbytes, self._writing.submit(self._append, [array])))

    def _waiting_bytes(self) -> int:
        return sum(size for size, _ in self._waiting)

    def _append(self, handed: list[npt.NDArray[Any]]) -> None:
        """Write data, and bring what there is of it to the disk now and then.

        The array is taken out, so that it is gone when this is done: executors hold on to more.
        """
        array = handed.pop()
        # Through a view of bytes: ml_dtypes' types have no buffer of their own.
        self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._unsynced += array.nbytes
        if self._unsynced >= _SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            self._wait_for_disk()
            self._file.flush()
            self._syncing = self._beside.submit(to_disk, self.path)
            self._unsynced = 0

    def _enter(self, name: str, tensor: Written) -> None:
        """Make a place for a tensor."""
        if name in self._header:
            raise ValueError(f"tensor {name} was written already")
        entry = self._entry(tensor)
        self._room -= len(json.dumps({name: entry}))
        if self._room < 0:
            raise ValueError(f"no room for tensor {name} in the header of {self.path}")
        self._header[name] = entry
        self.data_bytes += tensor.nbytes
        if isinstance(tensor, Rows):
            self._due = _Due(name, tensor.dtype, tensor.shape[1:], tensor.of)

    def _take(self, name: str, tensor: Written) -> None:
        """Count rows of the tensor that is due."""
        due = self._due
        assert due is not None
        rows = len(tensor.array) if isinstance(tensor, Rows) else 0
        if due != _Due(name, tensor.dtype, tensor.shape[1:], due.rows) or not 0 < rows <= due.rows:
            raise ValueError(f"{rows} rows of {name}, where {due} is to come")
        self._due = replace(due, rows=due.rows - rows) if rows < due.rows else None

    def _wait_for_disk(self) -> None:
        """Until nothing is on its way to the disk; OSError where that failed."""
        if self._syncing is not None:
            self._syncing.result()

    def close(self) -> None:
        """Write what is waiting and the header, and close the file."""
        if self._due:
            raise ValueError(f"{self._due} was not written")
        while self._waiting:
            self._waiting.popleft()[1].result()
        self._wait_for_disk()
        self._writing.shutdown()
        self._beside.shutdown()
        header = json.dumps(self._header).encode()
        self._file.seek(0)
        self._file.write((_HEADER_BYTES - 8).to_bytes(8, "little"))
        self._file.write(header.ljust(_HEADER_BYTES - 8))
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is; on a full disk even that can fail."""
        self._writing.shutdown(cancel_futures=True)
        self._beside.shutdown()  # which waits
        with contextlib.suppress(OSError):
            self._file.close()

    def _entry(self, tensor: Written) -> dict[str, Any]:
        if tensor.dtype.name not in _DTYPES:
            raise ValueError(f"safetensors cannot hold {tensor.dtype}")
        return {
            "dtype": _DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [self.data_bytes, self.data_bytes + tensor.nbytes],
        }


def write_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the checkpoint's tokenizer files, as transformers' AutoTokenizer reads them."""
    for name, content in checkpoint.tokenizer_files().items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
