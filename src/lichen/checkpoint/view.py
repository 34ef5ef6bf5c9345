"""A checkpoint seen as another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lichen.checkpoint.protocol import Checkpoint
from lichen.tensor import AnyTensor, FloatArray, Quantized


class View:
    """A `Checkpoint` that hands everything on to ``base``, but for what a subclass does itself."""

    def __init__(self, base: Checkpoint) -> None:
        self._base = base

    @property
    def path(self) -> Path:
        """The folder or file."""
        return self._base.path

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        return self._base.config

    @property
    def description(self) -> str:
        """In words for people."""
        return self._base.description

    @property
    def size_bytes(self) -> int:
        """Bytes of the weight files."""
        return self._base.size_bytes

    def names(self) -> tuple[str, ...]:
        """Tensor names."""
        return self._base.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._base.shape(name)

    def dtype(self, name: str) -> str:
        """Stored element type."""
        return self._base.dtype(name)

    def read(self, name: str) -> FloatArray | Quantized:
        """One tensor."""
        return self._base.read(name)

    def read_exact(self, name: str) -> AnyTensor:
        """One tensor in the form in which it is stored."""
        return self._base.read_exact(name)

    def digest(self) -> str:
        """SHA-256 over config, tokenizer and weights."""
        return self._base.digest()

    def changed(self) -> str:
        """The first weight file that is not what it was when it was opened, or ""."""
        return self._base.changed()

    def tokenizer_files(self) -> Mapping[str, bytes]:
        """Tokenizer files by name."""
        return self._base.tokenizer_files()


class Untied(View):
    """A model whose output head is the embedding's table, with a head of its own that is equal.

    The two can then be quantized each in its own way, and be read apart by others.
    """

    def __init__(self, base: Checkpoint, table: str, head: str) -> None:
        """``table`` and ``head`` are the names of the weights."""
        super().__init__(base)
        self._table, self._head = table, head

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json, which says that they are two."""
        return self._base.config | {"tie_word_embeddings": False}

    def names(self) -> tuple[str, ...]:
        """Tensor names, the head's last."""
        return (*(name for name in self._base.names() if name != self._head), self._head)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._base.shape(self._source(name))

    def dtype(self, name: str) -> str:
        """Stored element type."""
        return self._base.dtype(self._source(name))

    def read(self, name: str) -> FloatArray | Quantized:
        """One tensor."""
        return self._base.read(self._source(name))

    def read_exact(self, name: str) -> AnyTensor:
        """One tensor in the form in which it is stored."""
        return self._base.read_exact(self._source(name))

    def _source(self, name: str) -> str:
        return self._table if name == self._head else name
