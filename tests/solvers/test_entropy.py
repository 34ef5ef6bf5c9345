"""Entropy: the divergence of Migacz 2017 summed bin by bin, and what it cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.solvers.samples import Array, weights

from lichen.schemes import Scheme, dequantize
from lichen.solvers import absmax, entropy


def by_the_definition(counts: Array, kept: int, levels: int) -> float:
    """KL(P || Q), bin by bin: P has all mass beyond in its last bin, Q's levels lack it."""
    p = counts[:kept].astype(np.float64)
    p[-1] += counts[kept:].sum()
    q = np.zeros(kept)
    levels = min(levels, kept)
    for level in range(levels):
        bins = range(level * kept // levels, (level + 1) * kept // levels)
        filled = [i for i in bins if p[i]]
        for i in filled:
            q[i] = max(sum(counts[j] for j in bins), 1e-4) / len(filled)
    p, q = p / max(p.sum(), 1), q / max(counts[:kept].sum(), 1)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@given(
    hnp.arrays(np.int64, 40, elements=st.integers(0, 20)),
    st.integers(1, 40),
    st.sampled_from([1, 2, 4, 16, 128]),
)
def test_the_divergence_is_that_of_the_definition(counts, kept, levels):
    [[found]] = entropy.divergences(counts[None], np.array([kept]), levels)
    assert found == pytest.approx(by_the_definition(counts, kept, levels), abs=1e-9)


@pytest.mark.parametrize("levels", [2, 8, 128])
def test_the_range_is_one_of_the_least_divergence(levels):
    rows = np.abs(np.random.default_rng(0).standard_t(3, (4, 5000)))
    counts = np.stack([np.histogram(row, 512)[0] for row in rows])
    for row, kept in zip(counts, entropy.ranges(counts, levels), strict=True):
        tried = np.unique(np.geomspace(levels, 512, 64).astype(int))
        least = min(by_the_definition(row, i, levels) for i in tried)
        assert by_the_definition(row, int(kept), levels) == pytest.approx(least)


def test_equal_counts_are_kept_to_the_last_bin():
    """Any cut piles mass up; without one, levels of equal mass tell all there is."""
    assert entropy.ranges(np.full((1, 256), 10), 16) == [256]


def test_a_lone_count_far_away_is_cut():
    counts = np.zeros((1, 2048), np.int64)
    counts[0, :200] = 1000 - 4 * np.arange(200)
    counts[0, -1] = 1
    [kept] = entropy.ranges(counts, 8)
    assert kept < 400


def test_one_number_far_away_does_not_forbid_to_cut():
    """No level of a short range has its mass; only smoothing makes the divergence finite."""
    normal = np.abs(np.random.default_rng(0).standard_normal(20000))
    counts = np.histogram(np.append(normal, 90), 4096)[0]
    assert entropy.ranges(counts[None], 128)[0] < 300


def test_as_many_bins_as_levels_lose_nothing():
    counts = np.random.default_rng(0).integers(0, 9, (3, 16))
    np.testing.assert_allclose(entropy.divergences(counts, np.array([16]), 16), 0, atol=1e-12)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("bits", [8, 4])
def test_heavy_tails_are_cut(bits, granularity):
    w = np.random.default_rng(0).standard_t(2, (8, 4096)).astype(np.float32)
    scheme = Scheme(bits, True, granularity)
    found, whole = entropy.solve(w, scheme), absmax.solve(w, scheme)
    assert (found.scales / whole.scales).mean() < 0.7


@pytest.mark.parametrize("size", [1e-40, 1e-7, 1.0, 1e7])
def test_the_cut_does_not_depend_on_the_size_of_a_row(size):
    w = weights(4, 512)
    found = entropy.solve(w * np.float32(size), Scheme(8)).scales / np.float32(size)
    tolerance = 0.2 if size < 1e-30 else 1e-3  # of the smallest, few bits are left
    np.testing.assert_allclose(found, entropy.solve(w, Scheme(8)).scales, rtol=tolerance)


def test_rows_of_zeros_stay_zero():
    w = weights(3, 64)
    w[1] = 0
    assert not dequantize(entropy.solve(w, Scheme(8)))[1].any()


def test_no_range_is_longer_than_the_whole():
    w = weights(9, 96)
    assert (entropy.solve(w, Scheme(4)).scales <= absmax.solve(w, Scheme(4)).scales).all()


@pytest.mark.parametrize(
    "scheme", [Scheme(4, True, "group", 32), Scheme(8, False)], ids=["groups", "zero-points"]
)
def test_what_has_no_distribution_of_magnitudes_is_refused(scheme):
    with pytest.raises(ValueError, match="needs a symmetric scheme, per channel or tensor"):
        entropy.solve(weights(2, 64), scheme)


def test_weights_that_are_not_finite_are_refused():
    w = weights(2, 64)
    w[1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        entropy.solve(w, Scheme(8))
