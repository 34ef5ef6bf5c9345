"""The native core's arithmetic against NumPy, on every instruction set that this machine has."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.solvers.samples import Array, inputs, statistics, weights

from lichen import _core
from lichen.schemes import BITS, Scheme, dequantize, in_groups, quantize
from lichen.solvers import absmax, gptq, hqq, mse, native
from lichen.tensor import QuantizedTensor

ISAS = _core.supported_isas()
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
PARTS = {"tensor": None, "channel": None, "group": 32}
SCHEMES = {
    f"int{bits}-{part}" + ("" if symmetric else "-zeros"): Scheme(
        bits, symmetric, part, PARTS[part], "float16"
    )
    for bits, part, symmetric in product(BITS, PARTS, (True, False))
}
#: What takes the best instruction set unless one is named.
ARITHMETIC = (
    "descend",
    "extremes",
    "factor",
    "feedback_costs",
    "fit",
    "half_quadratic",
    "multiply",
    "round",
    "round_with_feedback",
    "squares",
)
every_isa = pytest.mark.parametrize("isa", ISAS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


@pytest.fixture
def on(monkeypatch):
    """Has the solvers' arithmetic done with one instruction set, and so many threads."""

    def use(isa: str, threads: int = 1) -> None:
        monkeypatch.setattr(native, "pool", lambda elements: _core.ThreadPool(threads))
        for name in ARITHMETIC:
            monkeypatch.setattr(native._core, name, partial(getattr(_core, name), isa=isa))

    yield use
    monkeypatch.undo()


def halfway(scheme: Scheme, rows: int, columns: int) -> tuple[Array, Array, Array | None]:
    """Weights in the middle of two codes, next to it, on codes, and beyond all; their scales."""
    rng = np.random.default_rng(0)
    shape = scheme.scale_shape(rows, columns)
    scales = np.exp2(rng.integers(-3, 3, shape)).astype(np.float32)
    scales *= rng.choice([-1, 1], shape)
    zeros = None
    if not scheme.symmetric:
        zeros = rng.integers(scheme.low, scheme.high + 1, shape).astype(np.int8)
    steps = rng.integers(2 * scheme.low - 3, 2 * scheme.high + 4, (rows, columns)) / 2
    steps *= 1 + rng.integers(-1, 2, steps.shape) * 2.0**-20
    grouped = in_groups(steps, shape[1]) * scales[:, :, None]
    return grouped.reshape(rows, columns).astype(np.float32), scales, zeros


@every_isa
@every_scheme
def test_rounding_gives_the_codes_that_numpy_gives(on, scheme, isa):
    on(isa)
    halves, scales, zeros = halfway(scheme, 5, 96)
    for dtype in DTYPES.values():
        w = halves.astype(dtype)
        ours, theirs = (f(w, scales, scheme, zeros) for f in (native.round_to, quantize))
        np.testing.assert_array_equal(ours.codes, theirs.codes)
        assert ours.scales is scales
        assert ours.zeros is zeros


@pytest.mark.parametrize("columns", [1, 3, 17, 63, 65, 129])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_rounding_of_rows_of_any_length(columns, dtype):
    w, scales, _ = halfway(Scheme(8), 3, columns)
    codes = native.round_to(w.astype(dtype), scales, Scheme(8)).codes
    np.testing.assert_array_equal(codes, quantize(w.astype(dtype), scales, Scheme(8)).codes)


@settings(max_examples=50)
@given(st.data())
def test_extremes_are_those_of_numpy_and_zero(data):
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([32, 96, 160]))
    w = weights(rows, columns, data.draw(st.integers(0, 99))) + data.draw(st.sampled_from([0, 1]))
    scheme = data.draw(st.sampled_from(list(SCHEMES.values())))
    w = w.astype(data.draw(st.sampled_from(list(DTYPES.values()))))
    low, high = native.extremes(w, scheme)
    grouped = w.astype("f4").reshape(*scheme.scale_shape(rows, columns), -1)
    np.testing.assert_array_equal(low, np.minimum(grouped.min(axis=2), 0))
    np.testing.assert_array_equal(high, np.maximum(grouped.max(axis=2), 0))


# --- the search for scales -------------------------------------------------------------------


class Searched:
    """One part [n], whose scale and zero point are found as `mse` describes it, in float64."""

    def __init__(self, part: Array, importance: Array, scheme: Scheme, search: native.Search):
        self.w, self.importance, self.scheme = part.astype(np.float64), importance, scheme
        least, greatest = min(self.w.min(), 0.0), max(self.w.max(), 0.0)
        best = (greatest - least) / (scheme.high - scheme.low), 0.0
        if scheme.symmetric:
            outermost = least if -least > greatest else greatest
            best = max(-least, greatest) / scheme.half_range, 0.0
            whole = outermost / scheme.low, 0.0
        else:
            best = whole = best[0], self.code(scheme.low - least / best[0])
        tried = [(whole[0] * f, whole[1]) for f in ranges(search)]
        now = self.refined(*max(tried, key=lambda by: self.gain(*by)))
        for _ in range(search.turns + 1):
            if self.error(*now) >= self.error(*best):
                break
            best, now = now, self.refined(*now)
        self.least = self.error(*best)

    def code(self, value: Any) -> Any:
        return np.clip(np.rint(value), self.scheme.low, self.scheme.high)

    def steps(self, scale: float, zero: float) -> Array:
        steps: Array = self.code(self.w / scale + zero) - zero
        return steps

    def error(self, scale: float, zero: float) -> float:
        return float(self.importance @ np.square(self.steps(scale, zero) * scale - self.w))

    def gain(self, scale: float, zero: float) -> float:
        p = self.steps(scale, zero)
        squares = self.importance @ (p * p)
        return float((self.importance @ (self.w * p)) ** 2 / squares) if squares else 0.0

    def refined(self, scale: float, zero: float) -> tuple[float, float]:
        """Least squares of weights over codes; with zero points a line, whose offset moves them."""
        p, m = self.steps(scale, zero), self.importance
        through_zero = float(m @ (self.w * p) / (m @ (p * p)))
        if self.scheme.symmetric or np.ptp(p) == 0:
            return through_zero, zero
        root = np.sqrt(m)
        slope, offset = np.linalg.lstsq(
            np.stack([p * root, root], axis=1), self.w * root, rcond=None
        )[0]
        if slope <= 0:
            return through_zero, zero
        return float(slope), float(self.code(zero - offset / slope))


def ranges(search: native.Search) -> Array:
    return np.linspace(search.widest, search.narrowest, search.grid)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", [32, 600], ids=["lanes", "runs"])
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_the_search_finds_what_the_plain_one_finds(columns, bits, symmetric, weighted):
    """Codes may differ where a weight lies next to the middle of two; errors hardly do."""
    scheme = Scheme(bits, symmetric)
    w, search = weights(40, columns), mse.search((40, columns), scheme, 16, 4)
    importance = np.random.default_rng(1).random(columns) ** 4 if weighted else np.ones(columns)
    given = importance.astype(np.float32) if weighted else None
    found = dequantize(native.fit(w, scheme, search, given))
    ours = np.square(found - w.astype(np.float64)) @ importance
    theirs = np.array([Searched(row, importance, scheme, search).least for row in w])
    assert ours.sum() <= 1.003 * theirs.sum()
    if bits < 6:  # of finer codes the best range is a matter of float32's last digits
        assert np.isclose(ours, theirs, rtol=1e-4).mean() >= 0.9


@every_scheme
def test_codes_are_those_of_the_scales_that_were_found(scheme):
    w = weights(6, 96)
    found = native.fit(w, scheme, mse.search(w.shape, scheme, 16, 4))
    again = quantize(w, found.scales, scheme, found.zeros)
    np.testing.assert_array_equal(found.codes, again.codes)


@every_scheme
def test_without_a_grid_and_turns_it_is_never_worse_than_the_whole_range(scheme):
    w = weights(6, 96)
    found = native.fit(w, scheme, native.Search(0, 0, 1.0, 1.0))
    error, whole = (
        np.square(dequantize(tensor) - w).sum() for tensor in (found, absmax.solve(w, scheme))
    )
    assert error <= whole * 1.0001


@every_isa
@every_dtype
def test_every_instruction_set_and_number_of_threads_gives_the_same_bits(on, dtype, isa):
    w = weights(21, 320).astype(dtype)
    importance = np.random.default_rng(1).random(320).astype(np.float32)
    seen = statistics(inputs(64, 320))

    def solved(scheme: Scheme) -> list[QuantizedTensor]:
        fitted = native.fit(w, scheme, mse.search(w.shape, scheme, 16, 4), importance)
        return [fitted, hqq.solve(w, scheme), gptq.solve(w, scheme, seen, sweeps=2)]

    for scheme in list(SCHEMES.values())[::5]:  # of all bits and parts, with and without zeros
        on(ISAS[-1])
        expected = solved(scheme)
        on(isa, threads=2)
        for ours, theirs in zip(solved(scheme), expected, strict=True):
            np.testing.assert_array_equal(ours.scales, theirs.scales)
            np.testing.assert_array_equal(ours.codes, theirs.codes)
            np.testing.assert_array_equal(ours.zeros, theirs.zeros)


@every_isa
@every_scheme
def test_errors_of_codes_are_those_of_numpy(on, scheme, isa):
    on(isa, threads=2)
    for dtype, columns in product(DTYPES.values(), (96, 4832)):
        w = weights(7, columns).astype(dtype)
        tensor = absmax.solve(w, scheme)
        wide = w.astype(np.float64)
        expected = np.square(dequantize(tensor) - wide).sum() / np.square(wide).sum()
        assert native.relative_error(w, tensor) == pytest.approx(expected, rel=1e-4)


def test_rows_of_any_length_have_the_errors_of_their_own_numbers():
    for columns in (1, 15, 17, 33):
        w = weights(3, columns)
        tensor = native.round_to(w, np.full((3, 1), -0.01, np.float32), Scheme(8))
        expected = np.square(dequantize(tensor) - w).sum() / np.square(w).sum()
        assert native.relative_error(w, tensor) == pytest.approx(expected, rel=1e-4)


def test_a_weight_of_zeros_has_no_error():
    zeros = np.zeros((2, 32), np.float32)
    assert native.relative_error(zeros, absmax.solve(zeros, Scheme(4))) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("columns", [64, 600])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
def test_weights_that_are_not_finite_are_refused(symmetric, columns, value):
    w, scheme = weights(3, columns), Scheme(4, symmetric)
    w[1, -1] = value
    for refused in (
        lambda: native.extremes(w, scheme),
        lambda: native.fit(w, scheme, mse.search(w.shape, scheme, 16, 4)),
    ):
        with pytest.raises(ValueError, match="weights are not finite"):
            refused()


def test_weights_too_large_for_their_scales_are_refused():
    w = np.full((2, 32), 1e8, np.float32)
    with pytest.raises(ValueError, match="too large for scales in float16"):
        native.fit(w, Scheme(2, scale_type="float16"), native.Search(16, 4, 1.15, 0.75))


# --- products and factors --------------------------------------------------------------------


@every_isa
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (33, 70, 129), (5, 64, 700)])
def test_products_are_those_of_numpy(on, m, n, k, isa):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((rows, k)).astype(np.float32) for rows in (m, n))
    on(isa, threads=2)
    expected = a.astype(np.float64) @ b.T.astype(np.float64)
    np.testing.assert_allclose(native.multiply(a, b), expected, rtol=1e-4, atol=1e-4)


@every_isa
@pytest.mark.parametrize("n", [1, 31, 300])
def test_a_factor_gives_its_matrix_back(n, isa):
    """h = S^T S with S lower triangular: the Cholesky factor of h in reverse order, reversed."""
    x = np.random.default_rng(0).standard_normal((2 * n + 8, n))
    h = x.T @ x / len(x)
    expected = np.linalg.cholesky(h[::-1, ::-1])[::-1, ::-1].T
    found = h.astype(np.float32)
    assert _core.factor(_core.ThreadPool(2), found, isa=isa)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rows_are_counted_until_they_are_above_their_limits():
    """What is told of one then is of its first columns alone, at least where many others are."""
    rng = np.random.default_rng(0)
    rows, columns = 9, 900
    errors = rng.standard_normal((rows, columns)).astype(np.float32)
    feedback = np.tril(rng.standard_normal((columns, columns)), -1).astype(np.float32) / 30
    pivots = np.square(rng.standard_normal(columns)).astype(np.float32)
    parts = pivots * np.square(errors + errors.astype(np.float64) @ feedback.T)
    whole = parts.sum(axis=1)

    def costs(limits):
        found = np.zeros(rows)
        _core.feedback_costs(_core.ThreadPool(2), errors.copy(), [feedback], pivots, found, limits)
        return found

    np.testing.assert_allclose(costs(np.full(rows, np.inf)), whole, rtol=1e-5)
    for above in ([], [0], [1, 4, 7], [0, 1, 2, 3, 4, 5, 6, 8], list(range(rows))):
        limits = np.full(rows, np.inf)
        limits[above] = 1.0
        found, below = costs(limits), limits > 1
        np.testing.assert_allclose(found[below], whole[below], rtol=1e-5)
        assert (found[above] > 1).all()
        if len(above) > 1:
            assert (found[above] < whole[above] / 2).all()


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(288, 288)], "as many columns as the weight"),
        ([(256, 256)], "as many columns as the weight"),
        ([], "as many columns as the weight"),
        ([(128, 128), (192, 192)], "whole 256 columns"),
        ([(256, 64), (64, 64)], "must be square"),
    ],
    ids=["too-few", "one-missing", "none", "cut-elsewhere", "not-square"],
)
def test_blocks_that_are_no_diagonal_are_refused(shapes, said):
    errors, pivots = np.ones((2, 320), np.float32), np.ones(320, np.float32)
    blocks = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(ValueError, match=said):
        _core.feedback_costs(native.pool(1), errors, blocks, pivots, np.zeros(2), np.zeros(2))
