"""HQQ: the error's p-norm never grows, whole zero points stay codes, and outliers are let go."""

from __future__ import annotations

from itertools import product

import ml_dtypes
import numpy as np
import pytest
from tests.solvers.samples import Array, weights

from lichen.schemes import BITS, Scheme, dequantize, quantize
from lichen.solvers import absmax, hqq, mse
from lichen.tensor import QuantizedTensor

PARTS = {"tensor": None, "channel": None, "group": 32}
SCHEMES = {
    f"int{bits}-{part}" + ("" if symmetric else "-zeros"): Scheme(
        bits, symmetric, part, PARTS[part], "float16"
    )
    for bits, part, symmetric in product(BITS, PARTS, (True, False))
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


def objective(tensor: QuantizedTensor, weight: Array, norm: float = 0.7) -> Array:
    """sum |W - Q|^p of each part; less than a millionth of a step counts as that, as there."""
    error = np.abs(dequantize(tensor).astype(np.float64) - weight)
    grouped = error.reshape(*tensor.scales.shape, -1)
    least = 1e-6 * np.abs(tensor.scales)[:, :, None]
    powers: Array = (np.maximum(grouped, least) ** norm).sum(axis=2)
    return powers


@every_scheme
def test_no_part_is_worse_than_with_absmax_or_mse(scheme):
    w = weights(12, 288)
    for norm, solver in product((0.3, 0.7, 0.95), (absmax, mse)):
        found = objective(hqq.solve(w, scheme, norm=norm), w, norm)
        assert (found <= objective(solver.solve(w, scheme), w, norm) * 1.0005).all()


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_turns_lower_the_objective_beyond_where_they_began(bits):
    w, scheme = weights(64, 256), Scheme(bits, False, "group", 64)
    found, fitted = (objective(solver.solve(w, scheme), w).sum() for solver in (hqq, mse))
    assert found < 0.99 * fitted


@every_scheme
def test_zero_points_are_codes_and_codes_those_of_the_scales(scheme):
    w = weights(6, 96) + np.float32(0.01)
    found = hqq.solve(w, scheme)
    again = quantize(w, found.scales, scheme, found.zeros)
    np.testing.assert_array_equal(found.codes, again.codes)
    np.testing.assert_array_equal(found.scales.astype(np.float16).astype("f4"), found.scales)
    assert (found.zeros is None) == scheme.symmetric
    if found.zeros is not None:
        assert found.zeros.dtype == np.int8
        assert found.zeros.min() >= scheme.low
        assert found.zeros.max() <= scheme.high


def plainly(part: Array, scheme: Scheme, norm: float = 0.7) -> float:
    """The least objective of one part [n] that the turns of `hqq` meet, in float64."""
    starts = []
    for solver in (absmax, mse):
        tensor = solver.solve(part[None], scheme)
        zero = 0.0 if tensor.zeros is None else float(tensor.zeros[0, 0])
        starts.append((float(tensor.scales[0, 0]), zero))
    met, (scale, zero), beta = starts[:1], starts[1], 10.0
    for _ in range(11):
        met.append((scale, zero))
        steps = part / scale
        p = np.clip(np.rint(steps + zero), scheme.low, scheme.high) - zero
        error = steps - p
        size = np.maximum(np.abs(error), 1e-6)
        rest = steps - np.sign(error) * np.maximum(size - size ** (norm - 1) / beta, 0)
        through_zero = rest @ p / (p @ p)
        slope, offset = (through_zero, 0.0) if scheme.symmetric else np.polyfit(p, rest, 1)
        moved = float(np.clip(np.rint(zero - offset / slope), scheme.low, scheme.high))
        scale, zero, beta = scale * slope, moved, beta * 1.01
    tensors = [
        quantize(
            part[None],
            np.array([[scale]], np.float32),
            scheme,
            None if scheme.symmetric else np.array([[zero]], np.int8),
        )
        for scale, zero in met
    ]
    return min(objective(tensor, part[None], norm)[0, 0] for tensor in tensors)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("columns", [32, 200])
def test_it_finds_what_the_plain_turns_find(columns, bits, symmetric):
    w, scheme = weights(40, columns), Scheme(bits, symmetric)
    ours = objective(hqq.solve(w, scheme), w)[:, 0]
    theirs = np.array([plainly(row.astype(np.float64), scheme) for row in w])
    assert ours.sum() <= 1.002 * theirs.sum()
    assert np.isclose(ours, theirs, rtol=1e-3).mean() >= 0.8


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
def test_a_weight_beyond_the_grid_of_all_others_is_let_go(symmetric):
    """31 of 32 weights are whole eighths, which 4 bits hold, and one lies a step below the least:
    squares stretch the grid to meet it, the p-norm leaves it alone."""
    scheme = Scheme(4, symmetric, "group", 32)
    w = np.random.default_rng(0).integers(-8, 8, (20, 32)).astype(np.float32) / 8
    w[:, :3] = [-1, 0.875, -1.135]
    errors = [
        np.delete(np.abs(dequantize(solver.solve(w, scheme)) - w), 2, axis=1).max(axis=1)
        for solver in (hqq, mse)
    ]
    assert np.median(errors[0]) < 0.001 < 0.002 < np.median(errors[1])


def test_parts_of_zeros_stay_zero():
    w = weights(3, 64)
    w[1] = 0
    for scheme in (Scheme(4), Scheme(4, False), Scheme(2, False, "group", 32)):
        assert not dequantize(hqq.solve(w, scheme))[1].any()


@pytest.mark.parametrize("scheme", [Scheme(4, True, "group", 32), Scheme(3, False)], ids=str)
def test_a_part_does_not_depend_on_those_beside_it(scheme):
    w = weights(40, 96)
    whole, part = hqq.solve(w, scheme), hqq.solve(w[17:23], scheme)
    np.testing.assert_array_equal(whole.codes[17:23], part.codes)
    np.testing.assert_array_equal(whole.scales[17:23], part.scales)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_halves_are_taken_as_the_floats_that_they_are(dtype):
    w = weights(6, 96).astype(dtype)
    scheme = Scheme(4, False, "group", 32)
    found, wide = hqq.solve(w, scheme), hqq.solve(w.astype(np.float32), scheme)
    np.testing.assert_array_equal(found.codes, wide.codes)
    np.testing.assert_array_equal(found.scales, wide.scales)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_refused(value):
    w = weights(2, 64)
    w[1, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        hqq.solve(w, Scheme(4))


@pytest.mark.parametrize("options", [{"norm": 0.0}, {"norm": 1.0}, {"beta": 0.0}, {"beta": np.nan}])
def test_options_out_of_bounds_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        hqq.solve(weights(2, 64), Scheme(4), **options)
