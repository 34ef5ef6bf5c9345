"""Divergence against scipy, on models whose distributions are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from scipy import special, stats

from lichen.code_text import CodeText
from lichen.errors import InputError
from lichen.verify.divergence import measure


class Table:
    """Bytes for tokens; the distribution after a token depends on that token alone."""

    def __init__(self, seed: int, *, shift: int = 0, vocabulary: int = 256) -> None:
        logits = np.random.default_rng(seed).normal(size=(256, vocabulary)) * 2
        self.rows = special.log_softmax(logits, axis=1).astype(np.float32)
        self._shift = shift

    def encode(self, text: str) -> list[int]:
        return [(byte + self._shift) % 256 for byte in text.encode()]

    def logprobs(self, ids: Sequence[int]) -> Iterator[np.ndarray]:
        for begin in range(0, len(ids), 100):
            yield self.rows[list(ids[begin : begin + 100])]


TEXT = CodeText("two documents", ("def f(x):\n    return x\n" * 40, "import os\n"))


def test_figures_equal_scipy() -> None:
    p, q = Table(1), Table(2)
    found = measure(p, q, TEXT)
    windows = [d.encode()[b : b + 512] for d in TEXT.documents for b in range(0, len(d), 512)]
    ids = np.concatenate([list(window[:-1]) for window in windows]).astype(int)
    following = np.concatenate([list(window[1:]) for window in windows]).astype(int)
    kl = stats.entropy(np.exp(p.rows[ids]), np.exp(q.rows[ids]), axis=1)
    same = p.rows[ids].argmax(axis=1) == q.rows[ids].argmax(axis=1)
    difference = p.rows[ids, following] - q.rows[ids, following]
    assert found.tokens == len(ids)
    assert found.kld_mean == pytest.approx(kl.mean(), rel=1e-4)
    assert found.kld_se == pytest.approx(stats.sem(kl), rel=1e-4)
    assert found.kld_p99 == pytest.approx(np.quantile(kl, 0.99), rel=1e-4)
    assert found.kld_max == pytest.approx(kl.max(), rel=1e-4)
    assert found.top1_agreement == pytest.approx(same.mean())
    assert found.nll_reference == pytest.approx(-p.rows[ids, following].mean(), rel=1e-5)
    assert found.nll_difference == pytest.approx(difference.mean(), rel=1e-4)
    assert found.nll_difference_se == pytest.approx(stats.sem(difference), rel=1e-4)


def test_a_model_does_not_diverge_from_itself() -> None:
    found = measure(Table(1), Table(1), TEXT)
    assert (found.kld_max, found.top1_agreement, found.nll_difference) == (0.0, 1.0, 0.0)


def test_a_last_token_may_be_a_piece_of_its_own() -> None:
    text = CodeText("a window of 201 tokens", (("x = 1; y = 2; z = 3; " * 10)[:201],))
    assert measure(Table(1), Table(2), text).tokens == 200


def test_windows_can_be_limited_for_each_document() -> None:
    assert measure(Table(1), Table(2), TEXT, windows=1).tokens == 511 + 9


def test_the_standard_library_is_the_text_when_none_is_given() -> None:
    found = measure(Table(1), Table(1))
    assert "heapq" in found.text
    assert found.tokens == 5 * 511


@pytest.mark.parametrize(
    ("candidate", "text", "words"),
    [
        pytest.param(Table(2, shift=1), TEXT, "different tokenizers", id="tokenizers"),
        pytest.param(Table(2, vocabulary=300), TEXT, "256 and 300", id="vocabularies"),
        pytest.param(Table(2), CodeText("tiny", ("x",)), "too short", id="one-token"),
    ],
)
def test_what_cannot_be_compared_is_refused(candidate: Table, text: CodeText, words: str) -> None:
    with pytest.raises(InputError, match=words):
        measure(Table(1), candidate, text)
