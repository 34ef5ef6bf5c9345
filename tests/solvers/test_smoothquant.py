"""SmoothQuant: equation 4, the same product, and a search that may leave all as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.solvers.samples import Array, inputs, statistics, weights

from lichen.reference import fake_quantize
from lichen.schemes import ActivationScheme, Scheme, dequantize
from lichen.solvers import absmax, smoothquant
from lichen.solvers.balancing import rounded

SCHEME = Scheme(8)


TOKEN = ActivationScheme()
ACTIVATIONS = {
    "token": TOKEN,
    "group": ActivationScheme(granularity="group", group_size=32),
    "tensor": ActivationScheme(granularity="tensor", dynamic=False),
    "floats": None,
}
every_kind = pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=ACTIVATIONS)


def engine(x: Array, kind: ActivationScheme | None) -> Array:
    """Inputs as the engine quantizes them."""
    if kind is None:
        return x
    return fake_quantize(x, kind, None if kind.dynamic else float(np.abs(x).max()) / 127.5)


def error(weight: Array, x: Array, s: Array, kind: ActivationScheme | None = TOKEN) -> float:
    """The squared error of the product when x / s and W * s are quantized."""
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    made = dequantize(absmax.solve(weight * s, SCHEME)).astype(np.float64)
    return float(np.square(engine(x / s, kind) @ made.T - exact).sum())


def test_factors_are_those_of_equation_4_by_hand():
    """Its figure 5: max |X| of 16 and 9 against max |W| of 1 and 1 at alpha 1/2."""
    x, w = np.array([2, 16, 2, 9], np.float32), np.array([2, 1, 2, 1], np.float32)
    np.testing.assert_allclose(smoothquant.factors(x, w, 0.5), [1, 4, 1, 3])
    np.testing.assert_allclose(smoothquant.factors(x, w, 1.0), x)
    np.testing.assert_allclose(smoothquant.factors(x, w, 0.0), 1 / w)


def test_extremes_are_those_of_all_tokens_and_all_weights():
    x = np.array([[1, -8], [-2, 4]], np.float32)
    ones, twos = np.ones((3, 2), np.float32), np.full((5, 2), -2, np.float32)
    s = smoothquant.balance([ones, twos], SCHEME, statistics(x))
    np.testing.assert_allclose(s, [1, 2])


def test_at_a_half_inputs_and_weights_have_equal_extremes():
    w, x = weights(16, 64), inputs(100, 64, outliers=3)
    s = smoothquant.balance([w], SCHEME, statistics(x))
    np.testing.assert_allclose(np.abs(x / s).max(axis=0), np.abs(w * s).max(axis=0), rtol=1e-5)


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.85, 1.0])
def test_the_product_in_floats_is_the_same(alpha, search):
    w, x = weights(16, 64), inputs(100, 64, outliers=3)
    s = smoothquant.balance([w], SCHEME, statistics(x), alpha=alpha, search=search)
    assert (s > 0).all()
    np.testing.assert_allclose((x / s) @ (w * s).T, x @ w.T, rtol=1e-4, atol=1e-3)


def test_columns_of_zeros_on_either_side_are_no_fault():
    w, x = weights(16, 64), inputs(100, 64)
    x[:, 3] = w[:, 5] = 0
    s = smoothquant.balance([w], SCHEME, statistics(x))
    assert s[3] == 1
    assert np.isfinite(s).all()
    assert s[5] == pytest.approx(np.sqrt(np.abs(x[:, 5]).max() / 1e-5), rel=1e-5)


@every_kind
@pytest.mark.parametrize("outliers", [0, 3])
def test_a_search_is_never_worse_than_no_scaling_nor_any_alpha(outliers, kind):
    w, x = weights(32, 64), inputs(200, 64, outliers=outliers)
    seen = statistics(x)
    found = smoothquant.balance([w], SCHEME, seen, kind, search=True, grid=10)
    tried = [smoothquant.balance([w], SCHEME, seen, kind, alpha=step / 10) for step in range(11)]
    least = min(error(w, x, s, kind) for s in [np.ones(64, np.float32), *tried])
    assert error(w, x, found, kind) <= 1.001 * least


def test_outliers_are_worth_smoothing():
    w, x = weights(32, 64), inputs(200, 64, outliers=3)
    s = smoothquant.balance([w], SCHEME, statistics(x))
    assert error(w, x, s) < 0.5 * error(w, x, np.ones(64, np.float32))


@every_kind
def test_inputs_in_a_search_are_rounded_as_the_engine_does(kind):
    x = inputs(50, 64, outliers=3)
    x[7] = 0
    np.testing.assert_allclose(rounded(x, kind), engine(x, kind), rtol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_alpha_is_from_0_to_1(alpha):
    with pytest.raises(ValueError, match="not 0 to 1"):
        smoothquant.balance([weights(4, 64)], SCHEME, statistics(inputs(9, 64)), alpha=alpha)


def test_a_search_without_a_sample_says_where_one_comes_from():
    seen = replace(statistics(inputs(9, 64)), sample=None)
    with pytest.raises(ValueError, match="a sample of the inputs, which comes from calibration"):
        smoothquant.balance([weights(4, 64)], SCHEME, seen, search=True)
