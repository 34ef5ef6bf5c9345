"""The score interval: Wilson's and Tango's at once, and the likelihood it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats
from tests.stats.tables import counts

from lichen import stats
from lichen.stats.score import score_limits


def likeliest_variance(values: list[float], weights: list[int], mean: float) -> float:
    """The variance of the likeliest distribution on values and both bounds that has this mean.

    Found by a general optimizer, over probabilities, from the definition.
    """
    support = np.array([*values, -1.0, 1.0])
    seen = np.array([*weights, 0, 0]) / sum(weights)
    found = optimize.minimize(
        lambda p: -(seen * np.log(np.maximum(p, 1e-12))).sum(),
        np.full(len(support), 1 / len(support)),
        bounds=[(0, 1)] * len(support),
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "eq", "fun": lambda p: p @ support - mean},
        ],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return float(found.x @ support**2 - mean**2)


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        ([-0.4, 0.0, 0.2], [10, 60, 12]),
        ([-0.2, 0.0, 0.2], [2, 30, 3]),  # both ends need a bound that was never seen
        ([-0.8, -0.2, 0.2, 0.6], [5, 20, 18, 4]),
        ([0.1], [40]),
    ],
)
def test_ends_lie_z_errors_away_in_the_likeliest_distribution(
    values: list[float], weights: list[int]
) -> None:
    found = stats.score_interval(values, weights, bounds=(-1, 1))
    z = scipy_stats.norm.ppf(0.975)
    for end in (found.low, found.high):
        error = np.sqrt(likeliest_variance(values, weights, end) / sum(weights))
        assert abs(found.estimate - end) / error == pytest.approx(z, rel=2e-3)


@given(st.integers(0, 200), st.integers(0, 200), st.sampled_from([0.8, 0.9, 0.99]))
def test_of_zeros_and_ones_is_wilsons(failed: int, passed: int, confidence: float) -> None:
    if failed + passed:
        wilson = stats.wilson(passed, failed + passed, confidence)
        found = stats.score_interval([0, 1], [failed, passed], bounds=(0, 1), confidence=confidence)
        assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_holds_the_mean_stays_inside_and_mirrors(values: list[float]) -> None:
    found = stats.score_interval(values, bounds=(-1, 1))
    mirror = stats.score_interval([-v for v in values], bounds=(-1, 1))
    assert -1 - 1e-12 <= found.low <= found.estimate <= found.high <= 1 + 1e-12
    assert (found.low, found.high) == pytest.approx((-mirror.high, -mirror.low), abs=1e-7)
    assert found.low < found.high  # never a point


@given(st.lists(st.integers(0, 10), min_size=1, max_size=40), st.integers(2, 5))
@example([1, 1, 1], 2)  # tenths whose mean is not exactly a tenth
def test_more_of_the_same_is_narrower(passed: list[int], times: int) -> None:
    values = [c / 10 for c in passed]
    once = stats.score_interval(values, bounds=(0, 1))
    again = stats.score_interval(values * times, bounds=(0, 1))
    assert again.high - again.low < once.high - once.low


def test_many_samples_at_once_are_the_same_as_one_by_one() -> None:
    values = np.arange(-5, 6) / 5
    rows = np.random.default_rng(0).multinomial(60, np.full(11, 1 / 11), 20)
    low, high = score_limits(values, rows, bounds=(-1, 1), confidence=0.9)
    for row, one_low, one_high in zip(rows, low, high, strict=True):
        one = stats.score_interval(values, row.tolist(), bounds=(-1, 1), confidence=0.9)
        assert (one.low, one.high) == pytest.approx((one_low, one_high), abs=1e-9)


@given(counts, counts)
def test_nears_the_normal_interval_on_many_tasks(down: int, up: int) -> None:
    rows = [down + 5, 200, up + 5]
    many = [100 * count for count in rows]
    found = stats.score_interval([-0.3, 0.0, 0.3], many, bounds=(-1, 1))
    values = np.repeat([-0.3, 0.0, 0.3], many)
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.03 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.03 * error)


@pytest.mark.parametrize(("values", "times"), [([], None), ([0.5], [0]), ([0.5], [1, 2])])
def test_refuses_no_values(values: list[float], times: list[int] | None) -> None:
    with pytest.raises(ValueError, match="at least one value"):
        stats.score_interval(values, times, bounds=(0, 1))
