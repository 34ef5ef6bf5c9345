"""The room that a model takes on disk."""

from __future__ import annotations

from pathlib import Path

from lichen.errors import InputError
from lichen.measure.reading import Reading

WEIGHTS = (".safetensors", ".gguf")


def size_on_disk(model: Path) -> Reading:
    """Bytes of a model's weight files: a ``.gguf`` file, or a folder's safetensors."""
    found = [model] if model.is_file() else sorted(model.glob("*"))
    weights = [path for path in found if path.suffix in WEIGHTS and path.is_file()]
    if not weights:
        raise InputError(f"{model}: no weight files ({', '.join(WEIGHTS)}) to take the size of.")
    count = "1 weight file" if len(weights) == 1 else f"{len(weights)} weight files"
    return Reading(
        value=sum(path.stat().st_size for path in weights),
        unit="B",
        kind="measured",
        source=f"{count} on disk",
    )
