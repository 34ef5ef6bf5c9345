"""How far the candidate's next-token distributions lie from the reference's, on code.

Cheap and sensitive: it flags broken models at once.  It does not rank good ones (arXiv 2606.19558),
so the verdict is warned by it and decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lichen import code_text
from lichen.code_text import CodeText
from lichen.errors import InputError
from lichen.row_blocks import map_row_blocks
from lichen.verify.record import Divergence

Float32 = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

WINDOW_TOKENS = 512

#: Long-lived modules of the standard library, of different kinds of code.
_MODULES = ("heapq", "textwrap", "csv", "difflib", "shlex")


class TokenModel(Protocol):
    """A model that can be asked for distributions: `lichen.loading.LanguageModel` is one."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""

    def logprobs(self, ids: Sequence[int]) -> Iterator[Float32]:
        """Log-probabilities [piece, vocabulary] of the token after each of ``ids``."""


def standard_library() -> CodeText:
    """Code that every machine has: modules of the running interpreter's standard library."""
    name = code_text.library_name(", ".join(_MODULES))
    return CodeText(name, code_text.standard_library(_MODULES))


def measure(
    reference: TokenModel,
    candidate: TokenModel,
    text: CodeText | None = None,
    *,
    windows: int | None = None,
    progress: Progress | None = None,
) -> Divergence:
    """Compare both models after every token of ``text`` (the standard library when None).

    Documents are read in windows of 512 tokens, each from an empty context; by default one window
    of each document of the standard library, and all windows of a text that was given.
    """
    limit = windows or (1 if text is None else None)
    text = text or standard_library()
    documents = [reference.encode(document) for document in text.documents]
    if documents != [candidate.encode(document) for document in text.documents]:
        raise InputError("the two models have different tokenizers; divergence needs the same one.")
    pieces = windows_of(documents, limit)
    if not pieces:
        raise InputError(f"{text.name}: too short to compare on; give at least two tokens of text.")
    rows: list[Float32] = []
    for number, ids in enumerate(pieces):
        rows.append(_compare(reference, candidate, ids))
        if progress:
            progress(number + 1, len(pieces))
    return _summary(text, np.concatenate(rows))


def windows_of(documents: list[list[int]], limit: int | None) -> list[list[int]]:
    """At most ``limit`` windows of each document; none of one that is shorter than two tokens."""
    pieces = []
    for ids in documents:
        starts = range(0, len(ids) - 1, WINDOW_TOKENS)
        pieces += [ids[begin : begin + WINDOW_TOKENS] for begin in starts][:limit]
    return pieces


def _compare(reference: TokenModel, candidate: TokenModel, ids: list[int]) -> Float32:
    """[tokens - 1, 4]: KL, same likeliest token, and both models' NLL of the token that follows."""
    following = np.array(ids[1:])
    rows = []
    position = 0
    pairs = zip(reference.logprobs(ids), candidate.logprobs(ids), strict=True)
    for p, q in pairs:
        if p.shape != q.shape:
            raise InputError(
                f"the models have vocabularies of {p.shape[1]} and {q.shape[1]} tokens;"
                " divergence needs the same one."
            )
        known = following[position : position + len(p)]
        if len(known):  # nothing follows the last token, which may be a piece of its own
            rows.append(_rows(p[: len(known)], q[: len(known)], known))
        position += len(p)
    return np.concatenate(rows)


def _rows(p: Float32, q: Float32, following: npt.NDArray[np.intp]) -> Float32:
    """As `_compare`, of the same rows of both."""

    def block(rows: slice) -> Float32:
        x, y = p[rows], q[rows]
        kl = np.einsum("tv,tv->t", np.exp(x), x - y, dtype=np.float64)
        same = x.argmax(axis=1) == y.argmax(axis=1)
        at = np.arange(len(x)), following[rows]
        return np.stack([np.maximum(kl, 0.0), same, -x[at], -y[at]], axis=1).astype(np.float32)

    return np.concatenate(map_row_blocks(block, p.shape))


def _summary(text: CodeText, rows: Float32) -> Divergence:
    kl, same, reference, candidate = rows.astype(np.float64).T
    difference = candidate - reference
    return Divergence(
        text=text.name,
        text_sha256=text.sha256,
        tokens=len(rows),
        kld_mean=float(kl.mean()),
        kld_p99=float(np.quantile(kl, 0.99)),
        kld_max=float(kl.max()),
        top1_agreement=float(same.mean()),
        nll_reference=float(reference.mean()),
        nll_candidate=float(candidate.mean()),
        nll_difference=float(difference.mean()),
        nll_difference_se=_standard_error(difference),
        kld_se=_standard_error(kl),
    )


def _standard_error(values: npt.NDArray[np.float64]) -> float:
    """Of their mean, as if tokens knew nothing of each other."""
    if len(values) < 2:
        return math.inf
    return float(values.std(ddof=1)) / math.sqrt(len(values))
