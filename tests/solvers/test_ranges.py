"""Static input scales from a histogram, against the same choice made on the inputs themselves."""

from __future__ import annotations

import numpy as np
import pytest
from tests.solvers.samples import Array
from tests.solvers.test_entropy import by_the_definition

from lichen.solvers import RANGES
from lichen.solvers.ranges import input_scale
from lichen.solvers.statistics import Collector, Histogram


def histogram(x: Array) -> Histogram:
    collector = Collector(x.shape[1], len(x), {"histogram"})
    collector.add(x)
    found = collector.result().histogram
    assert found is not None
    return found


@pytest.fixture(params=["normal", "heavy", "outlier"])
def x(request) -> Array:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((400, 50))
    if request.param == "heavy":
        drawn = rng.standard_t(3, (400, 50))
    if request.param == "outlier":
        drawn[7, 7] = -90
    return drawn.astype(np.float32)


def rounded(x: Array, scale: float) -> Array:
    return np.clip(np.rint(x / scale), -128, 127) * scale


def test_the_whole_range_ends_at_the_largest_magnitude(x):
    assert input_scale(histogram(x), "absmax") == np.abs(x).max() / 127.5


@pytest.mark.parametrize("percentile", [50, 90, 99, 99.99, 100])
def test_a_percentile_is_numpys_to_within_a_bin(x, percentile):
    seen = histogram(x)
    expected = np.percentile(np.abs(x), percentile, method="inverted_cdf")
    found = input_scale(seen, "percentile", percentile=percentile) * 127.5
    assert expected <= found * (1 + 1e-6) <= (expected + seen.width) * (1 + 1e-5)


def test_least_squared_error_is_that_of_the_inputs_themselves(x):
    scale = input_scale(histogram(x), "mse")
    tried = np.abs(x).max() * np.linspace(0.005, 1, 400) / 127.5
    errors = [np.square(rounded(x, s) - x).mean() for s in tried]
    assert np.square(rounded(x, scale) - x).mean() <= 1.02 * min(errors)


def test_entropy_keeps_as_many_bins_as_the_definition_does(x):
    seen = histogram(x)
    kept = round(input_scale(seen, "entropy") * 127.5 / seen.width)
    divergence = by_the_definition(seen.counts, kept, 128)
    others = [
        by_the_definition(seen.counts, i, 128) for i in np.geomspace(128, 4096, 64, dtype=int)
    ]
    assert divergence <= min(others) * 1.05 + 1e-9


@pytest.mark.parametrize("method", RANGES)
def test_a_scale_follows_the_size_of_the_inputs(x, method):
    once, twice = input_scale(histogram(x), method), input_scale(histogram(x * 2), method)
    assert twice == 2 * once


@pytest.mark.parametrize("method", RANGES)
def test_no_range_is_longer_than_the_whole(x, method):
    assert 0 < input_scale(histogram(x), method) <= np.abs(x).max() / 127.5


@pytest.mark.parametrize(("method", "reach"), [("percentile", 5), ("mse", 15), ("entropy", 8)])
def test_one_outlier_among_many_is_cut(method, reach):
    x = np.random.default_rng(0).standard_normal((1000, 100)).astype(np.float32)
    x[5, 5] = 20
    assert input_scale(histogram(x), method) * 127.5 < reach


@pytest.mark.parametrize("method", RANGES)
def test_inputs_of_zeros_have_a_scale(method):
    assert input_scale(histogram(np.zeros((3, 4), np.float32)), method) == 1


def test_what_does_not_exist_is_refused():
    seen = histogram(np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="no range 'median'"):
        input_scale(seen, "median")
    for percentile in (0, 101):
        with pytest.raises(ValueError, match=f"percentile is {percentile}"):
            input_scale(seen, "percentile", percentile=percentile)
