"""``lichen.json``: what a quantized folder was made from, how, and how close it came.

It holds no time and no path, so that the same command writes the same bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from lichen.errors import InputError

FILE_NAME = "lichen.json"
SCHEMA_VERSION = 1


class RecipeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe, word for word."""

    name: str
    digest: str
    text: str


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The model that was quantized; ``bytes`` is the size of its weight files."""

    description: str
    digest: str
    bytes: int


class CalibrationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Text that inputs were seen on: ``sequences`` of ``length`` tokens, drawn with ``seed``."""

    name: str
    sha256: str
    sequences: int
    length: int
    seed: int


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One quantized layer.

    bits          stored bits a weight, scales and zero points included
    error         mean squared error of the weight over its mean square
    output_error  the same of its product with inputs, where these were seen
    why           why it has this format, where the recipe left a choice
    """

    name: str
    rows: int
    columns: int
    format: str
    solver: str
    error: float
    scaling: str | None = None
    bits: float | None = None
    output_error: float | None = None
    why: str = ""


class NarrowedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A kept tensor whose source was not made of plain floats: the type it is stored in now."""

    name: str
    dtype: str
    error: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of ``lichen.json``.

    ``fingerprint`` tells whether the same work would give the same folder; ``files`` has the size
    of every weight file.  Bits per weight are those of all weight files over all parameters, and of
    the quantized layers alone, their scales included.  ``predicted_bytes`` was said before the
    start, ``chosen`` is which of a recipe's choices a layer got, counted from 0.
    """

    schema_version: int = SCHEMA_VERSION
    fingerprint: str
    versions: dict[str, str]
    recipe: RecipeRecord
    source: SourceRecord
    parameters: int
    bytes: int
    bits_per_weight: float
    quantized_parameters: int
    quantized_bits_per_weight: float
    files: dict[str, int]
    layers: list[LayerRecord]
    narrowed: list[NarrowedRecord]
    calibration: CalibrationRecord | None = None
    predicted_bytes: int | None = None
    chosen: dict[str, int] = {}


def fingerprint(
    source_digest: str,
    recipe_digest: str,
    version: str,
    calibration: CalibrationRecord | None = None,
) -> str:
    """What identifies a quantized folder: content of the source, recipe, program, calibration."""
    parts = [f"manifest {SCHEMA_VERSION}", f"lichen {version}", source_digest, recipe_digest]
    if calibration is not None:
        text = calibration
        parts.append(f"{text.sha256} {text.sequences} {text.length} {text.seed}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def write(manifest: Manifest, folder: Path) -> None:
    """Write ``lichen.json`` into ``folder``."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / FILE_NAME).write_bytes(text + b"\n")


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder whose weight files are all there; None for anything else.

    InputError for a manifest that a newer lichen wrote.
    """
    try:
        content = (folder / FILE_NAME).read_bytes()
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{folder / FILE_NAME} has schema version {version}, written by a newer lichen;"
                f" this one reads up to {SCHEMA_VERSION}. Update lichen, or choose another folder."
            )
        manifest = msgspec.json.decode(content, type=Manifest)
        sizes = {name: (folder / name).stat().st_size for name in manifest.files}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return manifest if sizes == manifest.files else None


class _Version(msgspec.Struct):
    schema_version: int
