"""Models on disk: Hugging Face folders, compressed-tensors folders and GGUF files."""

from __future__ import annotations

from pathlib import Path

from lichen.checkpoint import files
from lichen.checkpoint.protocol import Checkpoint
from lichen.errors import InputError

__all__ = ["Checkpoint", "open_checkpoint"]


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a model folder or a ``.gguf`` file; headers are read and checked, weights are not.

    Raises InputError for a path that is not there or is not a model that lichen reads.
    """
    try:
        path.stat()
    except OSError as error:
        raise InputError(
            f"{path}: is not there ({error.strerror}); give a model folder or a .gguf file."
        ) from None
    if path.is_dir():
        return _open_folder(path)
    if path.suffix.lower() == ".gguf":
        from lichen.checkpoint.gguf import GgufCheckpoint

        return GgufCheckpoint(path)
    raise InputError(f"{path}: is not a model; give a model folder or a .gguf file.")


def _open_folder(folder: Path) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: has no config.json, so it is not a Hugging Face model folder.")
    from lichen.checkpoint.safetensors_folder import SafetensorsFolder

    config = files.read_json(folder / "config.json")
    plain = SafetensorsFolder(folder, config)
    if config.get("quantization_config") is None:
        return plain
    from lichen.checkpoint.compressed_tensors import CompressedTensors

    return CompressedTensors(plain)
