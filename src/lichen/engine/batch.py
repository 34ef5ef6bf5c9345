"""What each sequence does in a step, and the arrays that tell the plan."""

from __future__ import annotations

from collections.abc import Sequence as Sequences
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lichen.engine.generation import Sequence

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Part:
    """Some tokens of one sequence: ``count`` from the first that is not computed."""

    sequence: Sequence
    count: int

    @property
    def ends(self) -> bool:
        """Whether it reaches the last token, so that the next one can be picked."""
        return self.count == self.sequence.pending + len(self.sequence.draft)

    @property
    def ids(self) -> list[int]:
        """The tokens, the draft last."""
        sequence = self.sequence
        known = sequence.tokens[sequence.computed : sequence.computed + self.count]
        return known + sequence.draft


def share_out(running: Sequences[Sequence], most: int, prompt_most: int) -> list[Part]:
    """The step's parts, of ``most`` tokens together: first what generates, then prompts.

    While anything generates, it waits for at most ``prompt_most`` tokens of prompts: a step is not
    much longer for a long prompt, and the prompt gets its share of every step.  Prompts are
    served strictly in order of admission, so that a shared page is always written no later than
    it is read.
    """
    generating = [Part(s, 1 + len(s.draft)) for s in running if s.generating]
    left = most - sum(part.count for part in generating)
    if generating:
        left = min(left, prompt_most)
    parts = {part.sequence: part for part in generating}
    for sequence in running:
        if left > 0 and sequence not in parts:
            parts[sequence] = Part(sequence, min(sequence.pending, left))
            left -= parts[sequence].count
    return list(parts.values())


def arrays(parts: Sequences[Part]) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """The ids, positions, starts, pages and rows of a step, as `_core.Plan.step` takes them."""
    counts = np.array([part.count for part in parts])
    computed = np.array([part.sequence.computed for part in parts])
    starts = np.zeros(len(parts) + 1, np.int32)
    np.cumsum(counts, out=starts[1:])
    ids = np.array([token for part in parts for token in part.ids], np.int32)
    positions = np.arange(len(ids), dtype=np.int32)
    positions += np.repeat(computed - starts[:-1], counts).astype(np.int32)
    pages = np.zeros((len(parts), max(len(part.sequence.pages) for part in parts)), np.int32)
    for row, part in zip(pages, parts, strict=True):
        row[: len(part.sequence.pages)] = part.sequence.pages
    rows = [
        np.arange(end - 1 - len(part.sequence.draft), end)
        for part, end in zip(parts, starts[1:], strict=True)
        if part.ends
    ]
    wanted = np.concatenate(rows) if rows else np.zeros(0)
    return ids, positions, starts, pages, wanted.astype(np.int32)
