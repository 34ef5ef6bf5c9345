"""What the rest of lichen sees of a model on disk, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lichen.schemes import FloatType
from lichen.tensor import AnyTensor, FloatArray, Quantized

#: Float types by their spelling in safetensors.
FLOAT_TYPES: dict[str, FloatType] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
#: What the core calls the elements of their rows in a file (`FileRows`).
ROW_ELEMENTS = {"float32": "float32", "float16": "uint16", "bfloat16": "uint16"}


class Checkpoint(Protocol):
    """One open model: its configuration, tensors by Hugging Face name, tokenizer files."""

    @property
    def path(self) -> Path:
        """The folder or file."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """The content of a Hugging Face ``config.json``."""
        ...

    @property
    def description(self) -> str:
        """In words for people: "Qwen2.5 Coder 0.5B Instruct, dequantized Q4_K_M GGUF"."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of the files that hold the weights."""
        ...

    def names(self) -> tuple[str, ...]:
        """Tensor names in Hugging Face form, in the order in which they are stored."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, rows (outputs) first."""
        ...

    def dtype(self, name: str) -> str:
        """Stored element type: "F32", "F16", "BF16", or a block type such as "Q4_K"."""
        ...

    def read(self, name: str) -> FloatArray | Quantized:
        """One tensor: float types as stored, GGUF block types dequantized to float32."""
        ...

    def read_exact(self, name: str) -> AnyTensor:
        """The same weight in the form in which it is stored, if possible still in its file."""
        ...

    def digest(self) -> str:
        """SHA-256 (hex) over weights, configuration and tokenizer; computed once."""
        ...

    def changed(self) -> str:
        """Name of the first weight file that is not the one that was opened, or gone; else "".

        Told from size, time and place on the disk; a digest made since may be another content's.
        """
        ...

    def tokenizer_files(self) -> Mapping[str, bytes]:
        """Tokenizer files by name (``tokenizer.json`` ...), as in a Hugging Face folder."""
        ...
