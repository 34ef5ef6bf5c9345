"""What is asked of the engine, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from lichen.engine.cache import PageTable
from lichen.engine.draft import Draft
from lichen.engine.sampling import Sampler


@dataclass
class Generation:
    """One sequence: its prompt, its way to sample, and who decides when it has said enough.

    ``accept`` is called with every new token and answers whether to go on.
    """

    prompt: list[int]
    max_tokens: int
    accept: Callable[[int], bool]
    sampler: Sampler = field(default_factory=lambda: Sampler(0.0, 1.0, 0))


@dataclass(eq=False)
class Sequence:
    """A generation that has its pages.

    pages     the numbers of its table, [pages]
    tokens    prompt and answer
    computed  how many of them have their keys and values in the cache
    draft     tokens that are tried in this step, as if they followed; kept where they do
    """

    key: int
    generation: Generation
    table: PageTable
    pages: npt.NDArray[np.int32]
    tokens: list[int]
    computed: int
    drafts: Draft | None
    draft: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls, key: int, generation: Generation, table: PageTable, drafts: Draft | None
    ) -> Sequence:
        """A generation about to begin, after what its pages hold already."""
        pages = np.array(table.pages, np.int32)
        prompt = list(generation.prompt)
        return cls(key, generation, table, pages, prompt, table.shared_tokens, drafts)

    @property
    def pending(self) -> int:
        """Tokens that are known but not yet computed."""
        return len(self.tokens) - self.computed

    @property
    def generating(self) -> bool:
        """Whether the prompt has been read."""
        return len(self.tokens) > len(self.generation.prompt)

    @property
    def begun(self) -> bool:
        """Whether anything was computed for it."""
        return self.computed > self.table.shared_tokens

    @property
    def left(self) -> int:
        """Tokens that its answer may still have."""
        return len(self.generation.prompt) + self.generation.max_tokens - len(self.tokens)

    def take(self, logits: npt.NDArray[np.float32]) -> bool:
        """Pick the next tokens from ``logits`` [1 + draft, vocabulary]; False at the answer's end.

        Row 0 follows the last token, row n the first n tokens of the draft: it counts only if
        those are what was picked.
        """
        for row, guess in zip_longest(logits, self.draft):
            token = self.generation.sampler.pick(row)
            self.tokens.append(token)
            self.computed = len(self.tokens) - 1
            if not self.generation.accept(token) or self.left == 0:
                return False
            if token != guess:
                break
        return True
