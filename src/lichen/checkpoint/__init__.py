"""Models on disk: Hugging Face folders, plain or quantized, and GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lichen.checkpoint import files
from lichen.checkpoint.protocol import Checkpoint
from lichen.errors import InputError

if TYPE_CHECKING:
    from lichen.checkpoint.safetensors_folder import SafetensorsFolder

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
    if config.get("quantization_config") is None and (words := _words_in(plain)):
        plain.config["quantization_config"] = _quantization_file(folder, words)
    match _method(plain):
        case None:
            return plain
        case "gptq":
            from lichen.checkpoint.gptq import open_gptq

            return open_gptq(plain)
        case "awq":
            from lichen.checkpoint.awq import open_awq

            return open_awq(plain)
        case _:
            from lichen.checkpoint.compressed_tensors import CompressedTensors

            return CompressedTensors(plain)


def _method(plain: SafetensorsFolder) -> str | None:
    """The name of the format that a folder is quantized in; None for one that is not."""
    given = plain.config.get("quantization_config")
    if given is None:
        return None
    return str(given.get("quant_method")) if isinstance(given, dict) else ""


def _words_in(plain: SafetensorsFolder) -> str | None:
    """The first tensor of codes as GPTQ and AWQ name them."""
    return next((name for name in plain.names() if name.endswith(".qweight")), None)


def _quantization_file(folder: Path, words: str) -> dict[str, Any]:
    """What config.json should say, from a file of its own."""
    for name, method in files.QUANTIZATION_FILES.items():
        if (folder / name).is_file():
            return {"quant_method": method} | files.read_json(folder / name)
    raise InputError(
        f"{folder}: {words} is quantized, but neither config.json nor"
        f" {' nor '.join(files.QUANTIZATION_FILES)} says how; fetch the model again."
    )
