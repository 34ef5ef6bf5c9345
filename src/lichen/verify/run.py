"""A run's folder: what is done stays done, and what looks whole is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import msgspec

from lichen.errors import InputError

T = TypeVar("T")

CACHE = "cache.jsonl"
MARKER = "run.json"
LOCK = ".lock"


class _Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Says that a folder is a run's, and of what."""

    lichen_run: int = 1
    subject: str
    title: str


class _Kept(msgspec.Struct, frozen=True):
    """The result of one step, with what it depended on."""

    key: list[str]
    value: Any


class RunFolder:
    """The folder of one run, held by one process at a time.  Use as a context manager.

    `subject` identifies what the run is about (digests), `title` says it in words.  A folder that
    holds something else is refused.  Another run's folder is too, unless `force`: then its files
    are replaced one by one, each as soon as the new one is whole.  A run that ends with an
    InputError before there was any answer leaves no folder behind, if it had made it.
    """

    def __init__(self, path: Path, subject: str, title: str, *, force: bool = False) -> None:
        self.path = path
        self._marker = _Marker(subject=subject, title=title)
        self._force = force
        self._made: Path | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"{self.path} is a file; --out takes a folder, new or of an earlier run."
            )
        self._check_free()
        self._made = _make(self.path)
        self._lock = _lock(self.path)
        try:
            self._claim()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        in_vain = isinstance(error, InputError) and not (self.path / CACHE).exists()
        if self._made is not None and in_vain:
            shutil.rmtree(self._made, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def write(self, name: str, data: bytes) -> Path:
        """Write a file so that it is the old one or the whole new one, whatever happens."""
        path = self.path / name
        write_whole(path, data)
        return path

    def remember(self, name: str, key: list[str], kind: type[T], compute: Callable[[], T]) -> T:
        """The result of a step: from `name` if it was kept there under this key, else computed."""
        path = self.path / name
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            if kept.key == key:
                return msgspec.convert(kept.value, kind)
        except (FileNotFoundError, msgspec.DecodeError):
            pass  # not there yet, or of another version: compute it
        value = compute()
        kept = _Kept(key, msgspec.to_builtins(value))
        self.write(name, msgspec.json.format(msgspec.json.encode(kept)))
        return value

    def _check_free(self) -> None:
        """Refuse a folder that is not empty and not this run's."""
        if not self.path.exists() or all(_ours(entry) for entry in self.path.iterdir()):
            return
        marker = self._read_marker()
        if marker is None:
            raise InputError(
                f"{self.path} is not empty and is not a run of lichen; give another --out."
            )
        if marker.subject != self._marker.subject and not self._force:
            raise InputError(
                f"{self.path} holds another run ({marker.title}, not {self._marker.title}); "
                "give another --out, or --force to replace it."
            )

    def _claim(self) -> None:
        for torn in self.path.glob(".*.part"):  # of a run that was killed
            torn.unlink()
        if self._read_marker() != self._marker:
            self.write(MARKER, msgspec.json.format(msgspec.json.encode(self._marker)) + b"\n")

    def _read_marker(self) -> _Marker | None:
        try:
            return msgspec.json.decode((self.path / MARKER).read_bytes(), type=_Marker)
        except (OSError, msgspec.DecodeError):
            return None


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, fsync, rename: `path` is never half-written; a failure leaves it as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _make(path: Path) -> Path | None:
    """Make the folder with its parents; the topmost one that was really made, if any."""
    made = None
    for folder in [path, *path.parents]:
        if folder.exists():
            break
        made = folder
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}.") from error
    return made


def _lock(path: Path) -> IO[bytes]:
    file = (path / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(
            f"another lichen is at work in {path}; wait for it, or give another --out."
        ) from error
    return file


def _ours(entry: Path) -> bool:
    """What a run that was killed early may leave in its folder."""
    return entry.name == LOCK or (entry.name.startswith(".") and entry.suffix == ".part")
