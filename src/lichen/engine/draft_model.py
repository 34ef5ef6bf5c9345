"""Guesses from a smaller model, greedily, token by token (Leviathan et al. 2022, arXiv 2211.17192).

It pays where the small model is several times faster and agrees often.  It guesses for one
sequence at a time, so it is meant for single answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from lichen.engine.cursor import Cursor
from lichen.engine.scheduler import STEP_TOKENS, Engine

_MOST = 8
_PRIOR = 0.7  # share of right guesses where nothing is known of a sequence yet
_PRIOR_WEIGHT = 8.0
_FADE = 0.97


class ModelDrafter:
    """Lets a second engine guess; ``vocabulary`` is the number of ids that the first one knows."""

    def __init__(self, engine: Engine, vocabulary: int) -> None:
        self._engine = engine
        self._common = min(vocabulary, engine.graph.vocabulary)
        self.seconds = 0.0

    def open(self, prompt: Sequence[int], capacity: int) -> ModelDraft | None:
        """Guesses for a sequence of up to ``capacity`` tokens; None where it has no room."""
        cursor = self._engine.cursor(capacity)
        return None if cursor is None else ModelDraft(self, cursor, self._common)

    def learn(self, seconds: float) -> None:
        """Count in how long one guess took."""
        self.seconds = seconds if self.seconds == 0 else 0.9 * self.seconds + 0.1 * seconds


class ModelDraft:
    """Follows one sequence: what the first model did not keep is fed over."""

    def __init__(self, drafter: ModelDrafter, cursor: Cursor, common: int) -> None:
        self._drafter = drafter
        self._cursor = cursor
        self._common = common
        self._tokens: Sequence[int] = ()
        self._seen = 0  # of these when guesses were last asked for
        self._fed = 0  # of them and the guesses behind
        self._guesses: list[int] = []
        self._right = _PRIOR * _PRIOR_WEIGHT
        self._tried = _PRIOR_WEIGHT

    def odds(self, tokens: Sequence[int]) -> Sequence[float]:
        """The chances that the first 1, 2, 3 ... guesses after ``tokens`` are right."""
        self._learn(tokens[self._seen :])
        self._tokens, self._seen = tokens, len(tokens)
        share = self._right / self._tried
        return [share**count for count in range(1, _MOST + 1)]

    def guess(self, count: int) -> list[int]:
        """The small model's own next tokens."""
        token = 0
        for begin in range(self._fed, self._seen, STEP_TOKENS):
            token = self._feed(self._tokens[begin : begin + STEP_TOKENS])
        self._guesses = [token]
        begin_time = time.perf_counter()
        while len(self._guesses) < count:
            token = self._feed([token])
            self._guesses.append(token)
        if count > 1:
            self._drafter.learn((time.perf_counter() - begin_time) / (count - 1))
        return self._guesses

    def close(self) -> None:
        """Give the pages back."""
        self._cursor.close()

    def _learn(self, came: Sequence[int]) -> None:
        """Compare what came with what was guessed; with no guesses, forget a little."""
        pairs = zip(self._guesses, came, strict=False)
        agreed = next((n for n, (g, c) in enumerate(pairs) if g != c), len(self._guesses))
        for right in [1] * agreed + [0] * (agreed < len(self._guesses)):
            self._right = _FADE * self._right + right
            self._tried = _FADE * self._tried + 1
        if not self._guesses:
            self._right += (1 - _FADE) * (_PRIOR * _PRIOR_WEIGHT - self._right)
            self._tried += (1 - _FADE) * (_PRIOR_WEIGHT - self._tried)
        self._fed = min(self._fed, self._seen + agreed)
        self._guesses = []

    def _feed(self, tokens: Sequence[int]) -> int:
        """The token that follows; an id that only the first model has is fed as another."""
        ids = np.array(tokens, np.int32)
        ids[ids >= self._common] = 0
        logits = self._cursor.feed(self._fed, ids, rows=1)
        self._fed += len(ids)
        return int(np.argmax(logits[0, : self._common]))
