"""Sampling: greedy is the maximum, draws follow the distribution, seeds decide."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
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


def by_sorting_all(logits, temperature: float, top_p: float, point: float) -> tuple[int, float]:
    """The definition, in float64: the token, and how near the draw was to the next one."""
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    order = np.lexsort((np.arange(len(weights)), -weights))
    cumulative = np.cumsum(weights[order] / weights.sum())
    nucleus = cumulative[: np.searchsorted(cumulative, top_p) + 1]
    edges = nucleus / nucleus[-1] - point
    if top_p < 1:
        edges = np.concatenate([edges, cumulative[:-1] - top_p])
    chosen = np.searchsorted(nucleus, point * nucleus[-1], side="right")
    return int(order[chosen]), float(np.abs(edges).min(initial=np.inf))


@given(
    seed=st.integers(0, 2**32 - 1),
    tokens=st.sampled_from([1, 2, 5, 1000, 30_000]),
    spread=st.sampled_from([0.0, 0.01, 1.0, 4.0, 30.0]),
    temperature=st.sampled_from([0.01, 0.2, 0.8, 1.0, 5.0]),
    top_p=st.sampled_from([1e-9, 0.3, 0.95, 0.9999, 1.0]),
)
def test_a_draw_is_the_one_that_sorting_everything_gives(seed, tokens, spread, temperature, top_p):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(tokens) * spread).astype(np.float32).round(2)  # ties too
    point = np.random.Generator(np.random.Philox(seed)).random()
    expected, distance = by_sorting_all(logits, temperature, top_p, point)
    assume(distance > 1e-6)
    assert Sampler(temperature, top_p, seed).pick(logits) == expected


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("others", [3e-3, 3e-5], ids=["some", "all-below-the-floors"])
def test_one_token_that_stands_out_does_not_hide_the_others(top_p: float, others: float) -> None:
    logits = np.full(30_000, np.log(others), np.float32)
    logits[7] = 0
    for seed in range(50):
        point = np.random.Generator(np.random.Philox(seed)).random()
        expected, distance = by_sorting_all(logits, 1.0, top_p, point)
        if distance > 1e-6:
            assert Sampler(1.0, top_p, seed).pick(logits) == expected


def test_a_draw_is_as_quick_as_a_token_of_a_small_model() -> None:
    """To sort 150,000 probabilities takes 20 ms; a token of 32 answers takes a few."""
    logits = (np.random.default_rng(0).standard_normal(151_936) * 2.5).astype(np.float32)
    logits[77] = 18
    sampler = Sampler(0.8, 0.95, 0)
    took = []
    for _ in range(20):
        begin = time.perf_counter()
        sampler.pick(logits)
        took.append(time.perf_counter() - begin)
    assert min(took) < 5e-3


def test_log_softmax_sums_to_one_far_from_zero() -> None:
    logits = np.array([[1000.0, 1000.0, -1000.0], [-5.0, 0.0, 5.0]], np.float32)
    np.testing.assert_allclose(np.exp(log_softmax(logits)).sum(axis=1), 1.0, rtol=1e-6)
