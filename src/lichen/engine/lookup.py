"""Guesses from the text itself: what followed when the last words stood there before.

Code repeats itself, and an answer often repeats its prompt: "rewrite this function" has most of the
answer in it (Yang et al. 2023, arXiv 2304.04487).  Of the places where the text ended like now,
the one that agrees furthest back is taken, and what follows it is the guess.
"""

from __future__ import annotations

from collections.abc import Sequence

from lichen.engine.draft import MOST

_SHORTEST = 2  # tokens that must agree
_LONGEST = 16  # beyond, longer agreement tells no more
_PLACES = 16  # earlier places that are looked at
#: Shares of right guesses by the length of agreement, where nothing is known of a sequence yet.
_PRIOR = tuple(0.0 if n < _SHORTEST else 1 - 1.4 / n for n in range(_LONGEST + 1))
_PRIOR_WEIGHT = 8.0
_FADE = 0.97


class LookupDrafter:
    """Prompt lookup; costs next to nothing."""

    seconds = 0.0

    def open(self, prompt: Sequence[int], capacity: int) -> LookupDraft:
        """Guesses for one sequence."""
        return LookupDraft(len(prompt))


class LookupDraft:
    """Finds the longest earlier agreement as tokens come (chains of equal pairs, as in LZ77).

    Every token that comes shows whether a guess would have been right, whether it was tried or
    not: so the odds are learnt at no cost, for each length of agreement by itself.
    """

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._tokens: list[int] = []
        self._latest: dict[tuple[int, int], int] = {}  # a pair -> where it ended last
        self._before: list[int] = []  # [position]: where the pair that ends here ended before; -1
        self._source = -1  # what follows the agreement: the guess; -1: none
        self._length = 0
        self._right = [share * _PRIOR_WEIGHT for share in _PRIOR]
        self._tried = [_PRIOR_WEIGHT] * (_LONGEST + 1)

    def odds(self, tokens: Sequence[int]) -> Sequence[float]:
        """The chances that the first 1, 2, 3 ... guesses after ``tokens`` are right."""
        for token in tokens[len(self._tokens) :]:
            self._push(token)
        if self._source < 0:
            return ()
        chances, chance = [], 1.0
        for length in range(self._length, self._length + MOST):
            level = min(length, _LONGEST)
            chance *= self._right[level] / self._tried[level]
            chances.append(chance)
        return chances

    def guess(self, count: int) -> list[int]:
        """What follows the agreement; where that is the end of the text, its own repetition."""
        period = len(self._tokens) - self._source
        return [self._tokens[self._source + place % period] for place in range(count)]

    def close(self) -> None:
        """Nothing is held."""

    def _push(self, token: int) -> None:
        known = self._tokens
        right = self._source >= 0 and known[self._source] == token
        if self._source >= 0 and len(known) > self._prompt_tokens:
            level = min(self._length, _LONGEST)
            self._right[level] = _FADE * self._right[level] + right
            self._tried[level] = _FADE * self._tried[level] + 1
        known.append(token)
        end = len(known) - 1
        pair = (known[end - 1], token) if end else (-1, token)
        previous = self._latest.get(pair, -1)
        self._before.append(previous)
        self._latest[pair] = end
        if right:
            self._source, self._length = self._source + 1, self._length + 1
        else:
            self._find(end, previous)

    def _find(self, end: int, place: int) -> None:
        """The longest agreement of what ends at ``end`` with what ended at ``place`` or before."""
        self._source, self._length = -1, 0
        for _ in range(_PLACES):
            if place < 0:
                return
            length = self._agreement(end, place)
            if length > self._length:
                self._source, self._length = place + 1, length
            place = self._before[place]

    def _agreement(self, end: int, place: int) -> int:
        known, length = self._tokens, _SHORTEST
        while (
            length < _LONGEST and length <= place and known[place - length] == known[end - length]
        ):
            length += 1
        return length
