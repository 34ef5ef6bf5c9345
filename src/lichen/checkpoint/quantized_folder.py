"""What folders with quantized weights have in common, whatever the format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lichen.checkpoint.protocol import Checkpoint
from lichen.tensor import FloatArray, QuantizedTensor


class QuantizedFolder(ABC):
    """A folder as a `Checkpoint` whose quantized weights read as such.

    ``base`` reads the tensors as they are stored; a format's own class says what several of them
    together stand for.
    """

    #: The format's name for people.
    method: str

    def __init__(self, base: Checkpoint) -> None:
        self._base = base

    @property
    def path(self) -> Path:
        """The folder."""
        return self._base.path

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json, with what a file of its own says of the quantization."""
        return self._base.config

    @property
    def size_bytes(self) -> int:
        """Bytes of the weight files."""
        return self._base.size_bytes

    @property
    def description(self) -> str:
        """The plain folder's description, with the formats of its weights."""
        formats = sorted(set(self._formats_in_words()))
        return f"{self._base.description}, {' and '.join(formats)} ({self.method})"

    @abstractmethod
    def _formats_in_words(self) -> Iterable[str]:
        """The format of every quantized weight."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of tensors; what belongs to a quantized weight is part of it."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; of a quantized weight, outputs and inputs."""

    @abstractmethod
    def dtype(self, name: str) -> str:
        """Stored element type; "I8", "I4" ... for a quantized weight, by its bits."""

    @abstractmethod
    def read(self, name: str) -> FloatArray | QuantizedTensor:
        """One tensor: floats as stored, or a quantized weight with its scales."""

    def read_exact(self, name: str) -> FloatArray | QuantizedTensor:
        """As `read`."""
        return self.read(name)

    def digest(self) -> str:
        """SHA-256 over config, tokenizer and weights."""
        return self._base.digest()

    def changed(self) -> str:
        """The first weight file that is not what it was when it was opened, or ""."""
        return self._base.changed()

    def tokenizer_files(self) -> Mapping[str, bytes]:
        """The folder's tokenizer files, as they are."""
        return self._base.tokenizer_files()
