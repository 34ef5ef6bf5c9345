"""How much a folder holds and how much its disk still takes."""

from __future__ import annotations

import shutil
from pathlib import Path

from lichen.errors import ResourceError

#: Kept free beside what is to be written.
_MARGIN_BYTES = 64 << 20


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; those that vanish meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except OSError:
            continue
    return total


def require_space(folder: Path, needed: int, what: str) -> None:
    """ResourceError unless the disk of `folder`, which need not exist yet, takes `needed` bytes."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed + _MARGIN_BYTES:
        raise ResourceError(
            f"{what}: needs {(needed + _MARGIN_BYTES) / 1e9:.2f} GB in {folder}, but only"
            f" {free / 1e9:.2f} GB are free; free some space and run the same command again."
        )
