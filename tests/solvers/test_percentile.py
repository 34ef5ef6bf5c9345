"""Percentiles of each part, as NumPy counts them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from tests.solvers.samples import Array, weights

from lichen.schemes import Scheme, dequantize
from lichen.solvers import absmax, percentile

PARTS = [Scheme(4, True, "tensor"), Scheme(4), Scheme(4, True, "group", 32)]
every_part = pytest.mark.parametrize("part", PARTS, ids=["tensor", "channel", "group"])


def of_parts(weight: Array, scheme: Scheme, rank: float) -> Array:
    shape = scheme.scale_shape(*weight.shape)
    grouped = weight.reshape(*shape, -1)
    found: Array = np.percentile(grouped, rank, axis=2).astype(np.float32)
    return found


@every_part
@pytest.mark.parametrize("rank", [60, 95, 99.9])
def test_a_symmetric_range_ends_at_the_percentile_of_magnitudes(part, rank):
    w = weights(6, 96)
    found = percentile.solve(w, part, percentile=rank)
    np.testing.assert_allclose(found.scales * 7.5, of_parts(np.abs(w), part, rank), rtol=1e-6)


@every_part
def test_with_zero_points_both_ends_are_percentiles_with_zero_between(part):
    scheme = Scheme(part.bits, False, part.granularity, part.group_size)
    w = weights(6, 96)
    w[2] = np.abs(w[2]) + 1
    low, high = of_parts(w, scheme, 5), of_parts(w, scheme, 95)
    found = percentile.solve(w, scheme, percentile=95)
    expected = np.maximum(high, 0) - np.minimum(low, 0)
    np.testing.assert_allclose(found.scales * 15, expected, rtol=1e-6)
    assert found.zeros is not None
    reach = (np.array([[-8], [7]]) - found.zeros.reshape(1, -1)) * found.scales.reshape(-1)
    slack = 0.51 * found.scales.reshape(-1)
    assert (np.abs(reach[0] - np.minimum(low, 0).reshape(-1)) <= slack).all()
    assert (np.abs(reach[1] - np.maximum(high, 0).reshape(-1)) <= slack).all()


@every_part
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
def test_the_hundredth_percentile_is_the_whole_range(symmetric, part):
    scheme = Scheme(part.bits, symmetric, part.granularity, part.group_size)
    w = weights(6, 96).astype(ml_dtypes.bfloat16)
    found, whole = percentile.solve(w, scheme, percentile=100), absmax.solve(w, scheme)
    np.testing.assert_array_equal(found.scales, whole.scales)
    np.testing.assert_array_equal(found.codes, whole.codes)


def test_what_lies_beyond_is_cut_to_the_end():
    w = np.append(np.full(99, 0.5), 100).astype(np.float32)[None]
    found = dequantize(percentile.solve(w, Scheme(8), percentile=98))
    assert np.abs(found).max() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("rank", [50, 0, 100.1, float("nan")])
def test_a_percentile_that_is_none_is_refused(rank):
    with pytest.raises(ValueError, match="not above 50 and at most 100"):
        percentile.solve(weights(2, 32), Scheme(4), percentile=rank)


@every_part
def test_weights_that_are_not_finite_are_refused(part):
    w = weights(2, 32)
    w[0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        percentile.solve(w, part)
