"""AWQ: the same product, scaled by a power of mean inputs that is looked for where it pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.solvers.samples import Array, inputs, statistics, weights

from lichen.schemes import ActivationScheme, Scheme, dequantize
from lichen.solvers import awq, mse

SCHEMES = [Scheme(4, True, "group", 32), Scheme(3, False, "group", 32), Scheme(4)]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=str)


def error(weight: Array, x: Array, s: Array, scheme: Scheme) -> float:
    """The squared error of the product when x / s meets the quantized W * s."""
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    made = dequantize(mse.solve(weight * s, scheme)).astype(np.float64)
    return float(np.square((x / s) @ made.T - exact).sum())


def test_factors_are_powers_of_the_mean_magnitudes_around_one():
    """Equation 4, by hand: the square roots of 1, 4 and 16 over the root of 1 * 4."""
    mean = np.array([1, 4, 16], np.float32)
    np.testing.assert_allclose(awq.factors(mean, 0.5), [0.5, 1, 2])
    np.testing.assert_array_equal(awq.factors(mean, 0.0), np.ones(3))


def test_columns_that_are_always_zero_have_factor_one():
    mean = np.array([0, 4, 16], np.float32)
    np.testing.assert_allclose(awq.factors(mean, 0.5), [1, 2**-0.5, 2**0.5])
    np.testing.assert_array_equal(awq.factors(np.zeros(3, np.float32), 0.5), np.ones(3))


@every_scheme
def test_the_product_in_floats_is_the_same(scheme):
    w, x = weights(16, 64), inputs(100, 64, outliers=2)
    s = awq.balance([w], scheme, statistics(x))
    np.testing.assert_allclose((x / s) @ (w * s).T, x @ w.T, rtol=1e-4, atol=1e-4)
    assert (s > 0).all()


@every_scheme
@pytest.mark.parametrize("outliers", [0, 2, 20])
def test_the_sample_is_never_worse_than_without(scheme, outliers):
    w, x = weights(32, 64), inputs(200, 64, outliers=outliers)
    s = awq.balance([w], scheme, statistics(x))
    assert error(w, x, s, scheme) <= error(w, x, np.ones(64, np.float32), scheme) * 1.0001


def test_the_best_of_the_grid_is_taken():
    w, x, scheme = weights(32, 64), inputs(200, 64, outliers=3), SCHEMES[0]
    seen = statistics(x)
    errors = [error(w, x, awq.factors(seen.mean_absolute, i / 10), scheme) for i in range(10)]
    s = awq.balance([w], scheme, seen, grid=10)
    assert error(w, x, s, scheme) == pytest.approx(min(errors), rel=1e-4)


def test_inputs_that_will_be_quantized_count_too():
    """A large column of inputs costs all others of its token their precision."""
    w, x = weights(32, 64), inputs(200, 64, outliers=1)
    w[:, np.abs(x).mean(axis=0) > 20] /= 1000  # alone, its weights have nothing to gain
    seen, scheme = statistics(x), Scheme(8)
    in_floats = awq.balance([w], scheme, seen)
    quantized = awq.balance([w], scheme, seen, ActivationScheme())
    assert quantized.max() > 1.5 * in_floats.max()


def test_a_few_large_inputs_are_worth_enlarging_their_columns_for():
    w, x = weights(64, 128), inputs(200, 128, outliers=2)
    s = awq.balance([w], SCHEMES[0], statistics(x))
    large = np.abs(x).mean(axis=0) > 20
    assert large.any()
    assert s[large].min() > 1.5 * np.median(s)
    assert error(w, x, s, SCHEMES[0]) < 0.9 * error(w, x, np.ones(128, np.float32), SCHEMES[0])


def test_weights_that_lose_nothing_are_left_as_they_are():
    """Multiples of one scale, with nothing to gain: the first of equals, alpha 0."""
    w = np.random.default_rng(0).integers(-8, 8, (16, 64)).astype(np.float32) / 8
    w[:, ::32] = -1
    s = awq.balance([w], SCHEMES[0], statistics(inputs(100, 64, outliers=2)))
    np.testing.assert_array_equal(s, np.ones(64))


def test_inputs_of_zeros_leave_weights_as_they_are():
    s = awq.balance([weights(16, 64)], SCHEMES[0], statistics(np.zeros((9, 64), np.float32)))
    np.testing.assert_array_equal(s, np.ones(64))


def test_all_weights_that_read_an_input_count():
    """Of two, the one with large errors decides, whichever comes first."""
    x, scheme = inputs(200, 64, outliers=2), SCHEMES[0]
    seen = statistics(x)
    large, small = weights(64, 64, seed=1) * 100, weights(64, 64, seed=2)
    alone = awq.balance([large], scheme, seen)
    np.testing.assert_array_equal(awq.balance([small, large], scheme, seen), alone)
    np.testing.assert_array_equal(awq.balance([large, small], scheme, seen), alone)


def test_without_a_sample_it_says_where_one_comes_from():
    seen = replace(statistics(inputs(9, 64)), sample=None)
    with pytest.raises(ValueError, match="a sample of the inputs, which comes from calibration"):
        awq.balance([weights(4, 64)], SCHEMES[0], seen)
