"""The sign-flip test against scipy, against McNemar, and by its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from tests.stats.tables import pairs

from lichen import stats
from lichen.stats import permutation


def by_scipy(reference: list[float], candidate: list[float]) -> float:
    """Every one of the 2^n sign patterns, or 9,999 of them at random."""

    def mean(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.round((y - x).mean(axis=axis), 12)

    found = scipy_stats.permutation_test(
        (np.array(reference), np.array(candidate)),
        mean,
        permutation_type="samples",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


@pytest.mark.parametrize("seed", range(6))
def test_equals_scipys_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = [(rng.binomial(5, 0.5, 11) / 5).tolist() for _ in range(2)]
    assert stats.paired_permutation(*sides) == pytest.approx(by_scipy(*sides), abs=1e-12)


@given(pairs)
def test_with_one_sample_of_each_task_it_is_mcnemar(table: tuple[int, int, int, int]) -> None:
    _, lost, gained, _ = table
    sides = np.repeat([(1, 1), (1, 0), (0, 1), (0, 0)], table, axis=0).T.tolist()
    assert stats.paired_permutation(*sides) == pytest.approx(
        stats.mcnemar_exact(lost, gained), rel=1e-9
    )


def test_random_flips_come_near_the_exact_value() -> None:
    rng = np.random.default_rng(8)
    sides = [(rng.binomial(10, 0.4 + shift, 40) / 10).tolist() for shift in (0.1, 0.0)]
    exact = stats.paired_permutation(*sides)
    difference = permutation.paired_differences(*sides)
    sampled = permutation._sampled(difference, 100_000, np.random.default_rng(0))
    assert 0.001 < exact < 0.2
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact / 100_000))


def test_scores_without_a_common_step_are_sampled_with_the_seed() -> None:
    rng = np.random.default_rng(8)
    sides = rng.random(10).tolist(), rng.random(10).tolist()
    found = stats.paired_permutation(*sides, seed=1)
    assert found == stats.paired_permutation(*sides, seed=1)
    assert found != stats.paired_permutation(*sides, seed=2)
    assert found == pytest.approx(by_scipy(*sides), abs=0.01)


def test_sampled_values_are_never_zero() -> None:
    before = np.random.default_rng(0).random(300).tolist()
    assert stats.paired_permutation(before, [0.0] * 300, resamples=999) == 1 / 1000


def test_unequal_numbers_of_samples_have_a_common_step() -> None:
    sides = [1 / 3, 2 / 7, 1.0, 0.0], [2 / 3, 5 / 7, 0.5, 0.25]
    assert stats.paired_permutation(*sides) == pytest.approx(by_scipy(*sides), abs=1e-12)


def test_a_thousand_tasks_are_still_exact() -> None:
    rng = np.random.default_rng(0)
    sides = [(rng.binomial(10, 0.5, 974) / 10).tolist() for _ in range(2)]
    one, other = (stats.paired_permutation(*sides, seed=seed) for seed in (1, 2))
    assert one == other
    deviation = np.subtract(*sides)
    z = abs(deviation.sum()) / np.sqrt((deviation**2).sum())
    assert one == pytest.approx(2 * scipy_stats.norm.sf(z), abs=0.01)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_is_a_chance_that_neither_swapping_nor_order_moves(
    rows: list[tuple[int, int]], random: np.random.Generator
) -> None:
    before, after = ([row[side] / 8 for row in rows] for side in (0, 1))
    found = stats.paired_permutation(before, after)
    assert 0 < found <= 1
    assert stats.paired_permutation(after, before) == pytest.approx(found, rel=1e-12)
    random.shuffle(rows)
    shuffled = [[row[side] / 8 for row in rows] for side in (0, 1)]
    assert stats.paired_permutation(*shuffled) == pytest.approx(found, rel=1e-12)
    # Tasks on which both models do equally well say nothing.
    assert stats.paired_permutation([*before, 0.5], [*after, 0.5]) == pytest.approx(found)
