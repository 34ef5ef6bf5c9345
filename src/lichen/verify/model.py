"""What verification knows of a model: a name, a digest, and prompt -> text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lichen.completion import Completion, Request


class TextModel(Protocol):
    """A loaded model that answers prompts, in whatever order it finishes them."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Yield (index into `requests`, its completion), each once, in order of finishing."""


@dataclass(frozen=True)
class ModelFacts:
    """What the record says of a model; None for what cannot be known of one behind a URL."""

    name: str
    description: str
    scheme: str
    parameters: int | None
    bits_per_weight: float | None


class ModelSource(Protocol):
    """A model on disk or behind a URL: identified, and able to write its chat prompts, unloaded."""

    @property
    def path(self) -> Path | str:
        """Where it is: on disk, or a URL."""

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of its weights, config and tokenizer, or of what its server says."""

    @property
    def has_chat(self) -> bool:
        """Whether it comes with a chat template."""

    def chat(self, messages: list[dict[str, str]]) -> str:
        """The prompt of a conversation that the model is to go on with."""

    def refusal(self, prompt: str) -> str | None:
        """Why the model has no room for a prompt, in words; None where it has."""

    def open(self) -> AbstractContextManager[TextModel]:
        """Load it; leaving the context gives its memory back."""

    @property
    def facts(self) -> ModelFacts:
        """Name, scheme and size."""
