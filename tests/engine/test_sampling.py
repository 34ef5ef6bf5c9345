"""Sampling: greedy is the maximum, draws follow the distribution, seeds decide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lichen.engine.sampling import Sampler, log_softmax

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))


def draws(count: int, **kwargs) -> np.ndarray:
    sampler = Sampler(**kwargs)
    return np.array([sampler.pick(LOGITS) for _ in range(count)])


def test_greedy_takes_the_lowest_of_equal_maxima() -> None:
    assert Sampler(0.0, 1.0, 0).pick(np.array([1, 3, 3, 2], np.float32)) == 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(temperature: float) -> None:
    counts = np.bincount(draws(4000, temperature=temperature, top_p=1.0, seed=1), minlength=4)
    expected = np.exp(LOGITS / temperature, dtype=np.float64)
    expected *= counts.sum() / expected.sum()
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_top_p_keeps_the_smallest_likely_set() -> None:
    assert set(draws(500, temperature=1.0, top_p=0.79, seed=0)) == {0, 1}
    assert set(draws(500, temperature=1.0, top_p=0.4, seed=0)) == {0}


def test_the_same_seed_draws_the_same() -> None:
    first = draws(50, temperature=1.0, top_p=1.0, seed=7)
    assert np.array_equal(first, draws(50, temperature=1.0, top_p=1.0, seed=7))
    assert not np.array_equal(first, draws(50, temperature=1.0, top_p=1.0, seed=8))


def test_log_softmax_sums_to_one_far_from_zero() -> None:
    logits = np.array([[1000.0, 1000.0, -1000.0], [-5.0, 0.0, 5.0]], np.float32)
    np.testing.assert_allclose(np.exp(log_softmax(logits)).sum(axis=1), 1.0, rtol=1e-6)
