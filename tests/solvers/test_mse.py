"""Least squares: never worse than where it started, and better than the whole range."""

from __future__ import annotations

from itertools import product

import ml_dtypes
import numpy as np
import pytest

from lichen.schemes import Scheme, dequantize, int4
from lichen.solvers import absmax, mse
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import QuantizedTensor

TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def weight(seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_t(4, (64, 256)) * 0.02).astype(np.float32)


def error(tensor: QuantizedTensor, of: np.ndarray) -> np.ndarray:
    """Squared error of each group."""
    return np.square(dequantize(tensor) - of).reshape(len(of), tensor.scales.shape[1], -1).sum(2)


@pytest.mark.parametrize("size", int4.GROUP_SIZES)
def test_the_error_is_smaller_than_that_of_the_whole_range(size):
    scheme = Scheme(4, True, "group", size, "float16")
    mine, whole = mse.solve(weight(), scheme), absmax.solve(weight(), scheme)
    assert error(mine, weight()).sum() < 0.92 * error(whole, weight()).sum()


def test_no_other_scale_nearby_is_better_for_the_same_codes():
    """The scales are the least squares solution, to within their rounding."""
    scheme = Scheme(4, True, "group", 32, "float32")
    found = mse.solve(weight(), scheme)
    codes = found.codes.reshape(64, 8, 32).astype("f8")
    best = (codes * weight().reshape(64, 8, 32)).sum(2) / np.square(codes).sum(2)
    ideal = QuantizedTensor(found.codes, best.astype("f4"), None, scheme)
    assert error(found, weight()).sum() < 1.02 * error(ideal, weight()).sum()


def least_of_many(of: np.ndarray, scheme: Scheme) -> np.ndarray:
    """The least squared error of each group among hundreds of scales, and all zero points."""
    groups = scheme.scale_shape(*of.shape)[1]
    part = of.reshape(len(of), groups, -1).astype(np.float64)
    low, high = np.minimum(part.min(axis=2), 0), np.maximum(part.max(axis=2), 0)
    ends, zeros = np.maximum(-low, high) * 2, [0]
    if not scheme.symmetric:
        ends, zeros = high - low, list(range(scheme.low, scheme.high + 1))
    least = np.full(ends.shape, np.inf)
    for share in np.linspace(0.3, 1.2, 100):
        for sign, zero in product((1, -1) if scheme.symmetric else (1,), zeros):
            scales = (sign * share * ends / (2 * scheme.half_range))[:, :, None]
            codes = np.clip(np.rint(part / scales + zero), scheme.low, scheme.high) - zero
            np.minimum(least, np.square(codes * scales - part).sum(axis=2), out=least)
    return least


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("bits", [4, 3, 2])
@pytest.mark.parametrize("size", [None, 32])
def test_hundreds_of_scales_and_all_zero_points_find_hardly_less(size, bits, symmetric):
    scheme = Scheme(bits, symmetric, "group" if size else "channel", size)
    w = weight()[:12]
    assert error(mse.solve(w, scheme), w).sum() <= 1.04 * least_of_many(w, scheme).sum()


def test_weighted_errors_of_columns_with_large_inputs_are_small():
    columns = np.ones(256, np.float32)
    columns[::8] = 100
    scheme = Scheme(4, True, "group", 32)
    seen = InputStatistics(1, columns, columns, np.square(columns))
    alike, weighted = (
        np.square(dequantize(mse.solve(weight(), scheme, seen, weighted=choice)) - weight()).sum(0)
        for choice in (False, True)
    )
    assert weighted @ seen.mean_square < 0.5 * alike @ seen.mean_square


def test_weights_of_columns_need_inputs():
    with pytest.raises(ValueError, match="weighted by inputs, which come from calibration"):
        mse.solve(weight(), int4.SCHEME, weighted=True)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", [1e-7, 1.0, 1e4])
def test_scales_survive_being_stored_in_their_type(kind, size):
    scheme = Scheme(4, True, "group", 32, kind)
    tensor = mse.solve(weight() * np.float32(size), scheme)
    np.testing.assert_array_equal(tensor.scales.astype(TYPES[kind]).astype("f4"), tensor.scales)
    assert (tensor.scales != 0).all()


def test_a_group_of_zeros_stays_zero():
    zeros = np.zeros((2, 64), np.float32)
    assert not dequantize(mse.solve(zeros, int4.SCHEME)).any()


def test_the_outermost_weight_is_not_cut():
    one = np.zeros((1, 32), np.float32)
    one[0, 5] = 0.8
    assert dequantize(mse.solve(one, int4.SCHEME))[0, 5] == pytest.approx(0.8, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_refused(value):
    bad = weight()
    bad[-1, -1] = value
    with pytest.raises(ValueError, match="not finite"):
        mse.solve(bad, int4.SCHEME)
