"""How much a folder holds and how much its disk still takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from lichen.errors import ResourceError

#: Kept free beside what is to be written.
_MARGIN_BYTES = 64 << 20


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; those that vanish meanwhile do not count."""
    total = 0
    # Path.rglob raises where a folder vanishes under it, os.walk goes on.
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                facts = os.lstat(os.path.join(parent, name))
                total += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
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
