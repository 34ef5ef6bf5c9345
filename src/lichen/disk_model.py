"""A model on disk before it is loaded: what verification needs to know of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from lichen import models
from lichen.checkpoint import Checkpoint, open_checkpoint
from lichen.checkpoint.protocol import FLOAT_TYPES
from lichen.engine.scheduler import CACHE_BYTES, KV_TYPE, token_capacity
from lichen.loading import LanguageModel, load, too_long
from lichen.tokenizer import Tokenizer
from lichen.verify.model import ModelFacts


class DiskModel:
    """A `lichen.verify.ModelSource`: identified from its files, loaded only while it is open.

    Raises InputError at once for a model that lichen could not run.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        threads: int | None,
        isa: str | None,
        kv_cache: str = KV_TYPE,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.path = path
        self._name = name or (path.stem if path.is_file() else path.resolve().name)
        self._threads = threads
        self._isa = isa
        self._kv_cache = kv_cache
        self._cache_bytes = cache_bytes
        self._checkpoint = open_checkpoint(path)
        self._graph = models.build(self._checkpoint.config)
        self._tokenizer = Tokenizer.load(self._checkpoint)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the model is made of."""
        return self._checkpoint.digest()

    @property
    def has_chat(self) -> bool:
        """Whether the model has a chat template."""
        return self._tokenizer.has_chat

    def chat(self, messages: list[dict[str, str]]) -> str:
        """The prompt that asks for the next answer of a conversation."""
        return self._tokenizer.chat(messages)

    def refusal(self, prompt: str) -> str | None:
        """Why the model has no room for a prompt; None where it has."""
        capacity = token_capacity(self._graph, self._cache_bytes, self._kv_cache)
        return too_long(self._tokenizer.encode(prompt), capacity)

    @contextmanager
    def open(self) -> Iterator[LanguageModel]:
        """The loaded model; its memory is freed at the end."""
        model = load(
            self.path,
            threads=self._threads,
            isa=self._isa,
            kv_cache=self._kv_cache,
            cache_bytes=self._cache_bytes,
        )
        try:
            yield model
        finally:
            model.close()

    @property
    def facts(self) -> ModelFacts:
        """Name, scheme and size, from the files alone."""
        parameters = sum(math.prod(shape) for _, shape in self._graph.weights())
        return ModelFacts(
            name=self._name,
            description=self._checkpoint.description,
            scheme=_scheme(self._checkpoint),
            parameters=parameters,
            bits_per_weight=8 * self._checkpoint.size_bytes / parameters,
        )


_WORDS = {**FLOAT_TYPES, **{f"I{bits}": f"int{bits}" for bits in (8, 6, 5, 4, 3, 2)}}


def _scheme(checkpoint: Checkpoint) -> str:
    """The type that most of the weights are stored in: "int8", "bfloat16", "dequantized Q4_K"."""
    elements: Counter[str] = Counter()
    for name in checkpoint.names():
        elements[checkpoint.dtype(name)] += math.prod(checkpoint.shape(name))
    [(most, _)] = elements.most_common(1)
    return _WORDS.get(most, f"dequantized {most}")
