"""What the original says of every token, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lichen.checkpoint import open_checkpoint
from lichen.engine.sampling import log_softmax
from lichen.loading import load
from lichen.tokenizer import Tokenizer
from lichen.verify import divergence

Float32 = np.ndarray


class Kept:
    """Distributions that are there already, in the order in which windows are asked for."""

    def __init__(self, tokenizer: Tokenizer, logprobs: Float32) -> None:
        self._tokenizer, self._logprobs, self._at = tokenizer, logprobs, 0

    def encode(self, text: str) -> list[int]:
        """As the reference cuts it."""
        return self._tokenizer.encode(text)

    def logprobs(self, ids: Sequence[int]) -> Iterator[Float32]:
        """The rows of the next window, all at once."""
        begin, self._at = self._at, self._at + len(ids)
        yield np.asarray(self._logprobs[begin : self._at], np.float32)


class KeptLogits(Kept):
    """As `Kept`, of numbers that are not normalized yet."""

    def logprobs(self, ids: Sequence[int]) -> Iterator[Float32]:
        """The rows of the next window, normalized."""
        return map(log_softmax, super().logprobs(ids))


class _InWindows:
    """A model that gives every window in one piece, as kept rows come."""

    def __init__(self, model: divergence.TokenModel) -> None:
        self.encode, self._model = model.encode, model

    def logprobs(self, ids: Sequence[int]) -> Iterator[Float32]:
        yield np.concatenate(list(self._model.logprobs(ids)))


class Reference:
    """A model in full precision, on the windows that `lichen divergence` reads.

    ``logprobs`` are float32 [tokens, vocabulary], mapped from a file of ``folder`` that has the
    model's digest in its name.
    """

    def __init__(self, model: Path, folder: Path, threads: int | None) -> None:
        source = open_checkpoint(model)
        self.tokenizer = Tokenizer.load(source)
        documents = divergence.standard_library().documents
        self.windows = divergence.windows_of([self.tokenizer.encode(text) for text in documents], 1)
        path = folder / f"reference-{source.digest()[:16]}.npy"
        if not path.exists():
            loaded = load(model, threads=threads)
            rows = [np.concatenate(list(loaded.logprobs(ids))) for ids in self.windows]
            loaded.close()
            beside = path.with_suffix(".part.npy")
            np.save(beside, np.concatenate(rows))
            beside.rename(path)
        self.logprobs: Float32 = np.load(path, mmap_mode="r")

    def against(self, candidate: divergence.TokenModel) -> divergence.Divergence:
        """How far another model, or what it said, lies from this one."""
        return divergence.measure(Kept(self.tokenizer, self.logprobs), _InWindows(candidate))
