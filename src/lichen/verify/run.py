"""A run's folder: what is done stays done, and what looks whole is whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import msgspec

from lichen.errors import InputError

T = TypeVar("T")

CACHE = "cache.jsonl"
MARKER = "run.json"
LOCK = ".lock"


MARKER_VERSION = 2


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Says that a folder is a run's, of what, and how it was asked for.

    `invocation` is plain data, enough to start the run again; None in folders of version 1.
    """

    lichen_run: int = MARKER_VERSION
    subject: str
    title: str
    invocation: dict[str, Any] | None = None


class _Kept(msgspec.Struct, frozen=True):
    """The result of one step, with what it depended on."""

    key: list[str]
    value: Any


class RunFolder:
    """The folder of one run, held by one process at a time.  Use as a context manager.

    `subject` identifies what the run is about (digests), `title` says it in words, `invocation`
    how it was asked for.  A folder that holds something else is refused.  Another run's folder is
    too, unless `force`: then its files are replaced one by one, each as soon as the new one is
    whole.  A run that ends with an InputError before there was any answer leaves no folder behind,
    if it had made it and nothing else is in there.
    """

    def __init__(
        self,
        path: Path,
        subject: str,
        title: str,
        *,
        force: bool = False,
        invocation: dict[str, Any] | None = None,
    ) -> None:
        self.path = path
        self._marker = Marker(subject=subject, title=title, invocation=invocation)
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
            self._take_back(self._made)
        if self._lock is not None:
            self._lock.close()

    def _take_back(self, made: Path) -> None:
        """Remove the folders that were made for the run, where they hold nothing else: another run
        may have come into one of them, or this one have made a model, which took hours."""
        if not {entry.name for entry in self.path.iterdir()} <= {MARKER, LOCK}:
            return
        for name in (MARKER, LOCK):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for folder in (self.path, *self.path.parents):
                folder.rmdir()
                if folder == made:
                    break

    def write(self, name: str, data: bytes) -> Path:
        """Write a file so that it is the old one or the whole new one, whatever happens."""
        path = self.path / name
        write_whole({path: data})
        return path

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """The same for files that belong together: none takes its place before all are whole."""
        write_whole({self.path / name: data for name, data in files.items()})

    def remember(self, name: str, key: list[str], kind: type[T], compute: Callable[[], T]) -> T:
        """The result of a step: from `name` if it was kept there under this key, else computed."""
        path = self.path / name
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            if kept.key == key:
                return msgspec.convert(kept.value, kind)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            pass  # not there yet, or of another version: compute it
        value = compute()
        kept = _Kept(key, msgspec.to_builtins(value))
        self.write(name, msgspec.json.format(msgspec.json.encode(kept)))
        return value

    def _check_free(self) -> None:
        """Refuse a folder that is not empty and not this run's."""
        if not self.path.exists() or all(_ours(entry) for entry in self.path.iterdir()):
            return
        marker = read_marker(self.path)
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
        if read_marker(self.path) != self._marker:
            self.write(MARKER, msgspec.json.format(msgspec.json.encode(self._marker)) + b"\n")


def read_marker(folder: Path) -> Marker | None:
    """What a folder says it is; None for one that is no run's.

    InputError for a run of a later lichen, which this one must not touch.
    """
    path = folder / MARKER
    try:
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=_Version).lichen_run
        if version > MARKER_VERSION:
            raise InputError(
                f"{path}: a run in form {version}, and this lichen knows forms up to "
                f"{MARKER_VERSION}; use the lichen that made it, or a newer one."
            )
        return msgspec.json.decode(data, type=Marker)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Version(msgspec.Struct):
    lichen_run: int


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Write all beside, fsync, then rename, in their order.

    No file is ever half-written, and a failure to write any leaves all as they were.
    """
    pending = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    try:
        for path, data in files.items():
            with pending[path].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, beside in pending.items():
            beside.replace(path)
    except BaseException:
        for beside in pending.values():
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
