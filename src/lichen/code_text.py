"""Code as text: what models are compared on and calibrated with."""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lichen.errors import InputError

#: What a folder's texts are recognized by: source code first, then prose.
_SUFFIXES = (
    ".py .pyi .c .h .cc .cpp .hpp .cs .go .java .js .jsx .ts .tsx .kt .scala .swift .rs .rb .php"
    " .lua .pl .r .jl .hs .sh .sql .html .css .toml .yaml .yml .md .rst .txt"
)


@dataclass(frozen=True)
class CodeText:
    """Text with a name, cut into documents that are read separately."""

    name: str
    documents: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of the documents in order."""
        return hashlib.sha256("\0".join(self.documents).encode()).hexdigest()


def library_file(module: str) -> Path:
    """Where the running interpreter keeps a module of its library: "csv", "json/decoder"."""
    return Path(sysconfig.get_path("stdlib")) / f"{module}.py"


def standard_library(modules: Iterable[str]) -> tuple[str, ...]:
    """The source of modules that every machine has; InputError where there is none."""
    try:
        return tuple(library_file(module).read_text("utf-8") for module in modules)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"this Python comes without the source of its library ({error}); give a text instead."
        ) from None


def library_name(modules: str) -> str:
    """What a text of these modules is called: the library changes with Python's version."""
    return f"Python {platform.python_version()} standard library: {modules}"


def from_path(path: Path) -> CodeText:
    """The text of a file, or of all text files below a folder, sorted by path.

    InputError when there is nothing to read; files of a folder that are no UTF-8, and whatever
    lies in hidden folders, are passed over.
    """
    if path.is_dir():
        return CodeText(path.name, _documents(path))
    try:
        return CodeText(path.name, (path.read_text("utf-8"),))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; give a text file or a folder.") from None


def _documents(folder: Path) -> tuple[str, ...]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in _SUFFIXES.split()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
    documents = tuple(text for file in files if (text := _text(file)))
    if not documents:
        raise InputError(f"{folder}: no file with text in it (.py, .md, .txt and the like).")
    return documents


def _text(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        return None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error}).") from None
