"""What folders with quantized weights have in common, whatever the format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from lichen.checkpoint.view import View
from lichen.tensor import AnyTensor, FloatArray, Quantized


class QuantizedFolder(View, ABC):
    """A folder as a `Checkpoint` whose quantized weights read as such.

    ``base`` reads the tensors as they are stored; a format's own class says what several of them
    together stand for.
    """

    #: The format's name for people.
    method: str

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
    def read(self, name: str) -> FloatArray | Quantized:
        """One tensor: floats as stored, or a quantized weight with its scales."""

    def read_exact(self, name: str) -> AnyTensor:
        """As `read`."""
        return self.read(name)
