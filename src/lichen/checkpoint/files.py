"""Small readers that turn anything wrong with a file into one InputError naming it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lichen.errors import InputError

#: No JSON file of a model comes near this; a larger one is not what it says.
MAX_JSON_BYTES = 1 << 27

#: Files that make text into tokens and back; whichever of them exist belong to a model.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)

#: Where GPTQ and AWQ tools say how weights are stored when config.json does not, and who wrote it
#: when the file does not say.
QUANTIZATION_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    content = parse_json(read_small(path), path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a JSON {type(content).__name__}, must be an object.")
    return content


def parse_json(data: bytes | str, where: Path) -> Any:
    """JSON text that came from `where`."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not valid JSON ({error}).") from None


def read_small(path: Path) -> bytes:
    """A whole file of at most MAX_JSON_BYTES."""
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise InputError(f"{path}: {size} bytes, must be at most {MAX_JSON_BYTES}.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """Those of TOKENIZER_FILES that the folder has, and further chat templates."""
    names = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    names += [str(p.relative_to(folder)) for p in sorted(folder.glob("*_chat_templates/*.jinja"))]
    return {name: read_small(folder / name) for name in names}


class Watch:
    """What files were at the moment they were about to be opened, to tell whether they still are.

    A file that is written again in place keeps its inode, one that is replaced may keep its size
    and time; whoever sets all three back on purpose is not found out.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._seen = {path: _identity(path) for path in paths}

    @property
    def size_bytes(self) -> int:
        """Bytes of all files at that moment."""
        return sum(seen[0] for seen in self._seen.values() if seen)

    def changed(self) -> str:
        """Name of the first file that is another one now, or gone; "" where there is none."""
        return next((p.name for p, seen in self._seen.items() if _identity(p) != seen), "")


def _identity(path: Path) -> tuple[int, int, int, int] | None:
    """Size, time of the last change in ns, device and inode; None for a file that is not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_dev, facts.st_ino


def combined_digest(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over the names and contents of files; large ones are read in parallel."""
    paths = sorted(files)
    pool = ThreadPoolExecutor(max_workers=4)
    try:
        digests = list(pool.map(file_digest, paths))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for gigabytes
    total = hashlib.sha256()
    for path, digest in zip(paths, digests, strict=True):
        total.update(f"{path.name}\0{digest}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of one file's content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
