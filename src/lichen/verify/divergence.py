"""How far the candidate's next-token distributions lie from the reference's, on code.

Cheap and sensitive: it flags broken models at once.  It does not rank good ones (arXiv 2606.19558),
so the verdict is warned by it and decided elsewhere.
"""

from __future__ import annotations

import hashlib
import math
import platform
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lichen.errors import InputError
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


@dataclass(frozen=True)
class CodeText:
    """Text to compare on, cut into documents that are read separately."""

    name: str
    documents: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of the documents in order."""
        return hashlib.sha256("\0".join(self.documents).encode()).hexdigest()


def standard_library() -> CodeText:
    """Code that every machine has: modules of the running interpreter's standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    documents = tuple((folder / f"{module}.py").read_text("utf-8") for module in _MODULES)
    name = f"Python {platform.python_version()} standard library: {', '.join(_MODULES)}"
    return CodeText(name, documents)


def from_file(path: Path) -> CodeText:
    """The text of one file; InputError when it cannot be read as UTF-8."""
    try:
        return CodeText(path.name, (path.read_text("utf-8"),))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}).") from None


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
    pieces = _windows(documents, limit)
    if not pieces:
        raise InputError(f"{text.name}: too short to compare on; give at least two tokens of text.")
    rows: list[Float32] = []
    for number, ids in enumerate(pieces):
        rows.append(_compare(reference, candidate, ids))
        if progress:
            progress(number + 1, len(pieces))
    return _summary(text, np.concatenate(rows))


def _windows(documents: list[list[int]], limit: int | None) -> list[list[int]]:
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
        rows.append(_rows(p[: len(known)], q[: len(known)], known))
        position += len(p)
    return np.concatenate(rows)


def _rows(p: Float32, q: Float32, following: npt.NDArray[np.intp]) -> Float32:
    kl = np.einsum("tv,tv->t", np.exp(p), p - q, dtype=np.float64)
    same = p.argmax(axis=1) == q.argmax(axis=1)
    at = np.arange(len(following)), following
    return np.stack([np.maximum(kl, 0.0), same, -p[at], -q[at]], axis=1).astype(np.float32)


def _summary(text: CodeText, rows: Float32) -> Divergence:
    kl, same, reference, candidate = rows.astype(np.float64).T
    difference = candidate - reference
    spread = float(difference.std(ddof=1)) if len(rows) > 1 else math.inf
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
        nll_difference_se=spread / math.sqrt(len(rows)),
    )
