"""Trellis codes: what rows of bytes mean, that the nearest way is found, and what they lose."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen import _core
from lichen.schemes import Scheme, dequantize, trellis, trellis_row_bytes
from lichen.solvers import gptq, mse, native
from lichen.solvers.statistics import InputStatistics

ISAS = _core.supported_isas()
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)


def normal(rows: int, columns: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32)


def groups_of(columns: int) -> list[int]:
    return [min(128, columns - begin) for begin in range(0, columns, 128)]


def meaning(row: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.float64]:
    """What a stored row stands for, bit by bit, as the header of the format says it."""
    values, bits, at = np.empty(columns), [0, 0, 0], 0
    for number, width in enumerate(groups_of(columns)):
        unit = 2.0 ** (int(row[at]) // 8 - 26) * (1 + int(row[at]) % 8 / 8)
        size = 6 if width > 64 else 3
        steps = int.from_bytes(row[at + 1 : at + 1 + size].tobytes(), "little")
        codes = int.from_bytes(row[at + 1 + size : at + 1 + size + width // 2].tobytes(), "little")
        for k in range(width):
            code = codes >> 4 * k & 15
            level = 2 * (code ^ bits[2]) + bits[0]
            step = (steps >> 3 * (k // 8) & 7) + 1
            values[128 * number + k // 8 * 8 + ORDER[k % 8]] = unit * step * (level - 16)
            bits = [code & 1, *bits[:2]]
        at += 1 + size + width // 2
    assert at == len(row)
    return values


def least_error(weight: npt.NDArray[np.float32], row: npt.NDArray[np.uint8], columns: int) -> float:
    """The least squared error of any codes and steps beside a row's units: all ways, in float64."""
    costs, at = np.where(np.arange(8) == 0, 0.0, np.inf), 0
    for number, width in enumerate(groups_of(columns)):
        unit = 2.0 ** (int(row[at]) // 8 - 26) * (1 + int(row[at]) % 8 / 8)
        for block in range(width // 8):
            ends = []
            for step in range(1, 9):
                ways = costs.copy()
                for i in ORDER:
                    w = float(weight[128 * number + 8 * block + i]) / (unit * step) + 16
                    after = np.full(8, np.inf)
                    for state in range(8):
                        for code in range(16):
                            level = 2 * (code ^ (state >> 2)) + (state & 1)
                            end = (state << 1 | (code & 1)) & 7
                            cost = ways[state] + ((w - level) * unit * step) ** 2
                            after[end] = min(after[end], cost)
                    ways = after
                ends.append(ways)
            costs = np.min(ends, axis=0)
        at += 1 + (6 if width > 64 else 3) + width // 2
    return float(costs.min())


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.randoms(use_true_random=False))
def test_bytes_mean_what_the_format_says(thirty_twos, random):
    columns = 32 * thirty_twos
    size = trellis_row_bytes(columns)
    words = np.frombuffer(random.randbytes(3 * size), np.uint8).reshape(3, size)
    tensor = trellis.tensor(words, columns)
    assert tensor.shape == (3, columns)
    expected = np.array([meaning(row, columns) for row in words])
    np.testing.assert_array_equal(dequantize(tensor), expected.astype(np.float32))


def test_128_columns_take_71_bytes():
    assert [trellis_row_bytes(n) for n in (32, 64, 96, 128, 1536)] == [20, 36, 55, 71, 12 * 71]
    assert trellis.SCHEME.stored_bits(10, 1536) / 15360 == 71 * 8 / 128 == 4.4375


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("columns", [32, 64, 96, 128, 576])
def test_every_instruction_set_writes_the_same_bytes(columns, isa):
    weight = normal(19, columns)
    found = []
    for name in ("portable", isa):
        words = np.zeros((19, trellis_row_bytes(columns)), np.uint8)
        _core.encode_trellis(_core.ThreadPool(2), weight, "float32", words, isa=name)
        found.append(words)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("columns", [32, 160, 576])
def test_squared_errors_are_those_of_what_codes_stand_for(columns, dtype, isa):
    weight = normal(19, columns).astype(getattr(ml_dtypes, dtype, dtype))
    tensor = native.encode_trellis(weight)
    exact, found = weight.astype(np.float64), dequantize(tensor)
    bits = weight if dtype == "float32" else weight.view(np.uint16)
    errors, squares = np.ones(19), np.zeros(19)
    _core.trellis_squares(_core.ThreadPool(2), bits, dtype, tensor.words, errors, squares, isa=isa)
    np.testing.assert_allclose(errors, 1 + np.square(found - exact).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(squares, np.square(exact).sum(axis=1), rtol=1e-6)


def test_some_rows_are_decoded_as_all_are():
    tensor = native.encode_trellis(normal(300, 96))
    whole, some = trellis.decode(tensor), trellis.decode(tensor, slice(7, 250))
    np.testing.assert_array_equal(some.codes, whole.codes[7:250])
    np.testing.assert_array_equal(some.scales, whole.scales[7:250])


@pytest.mark.parametrize("columns", [64, 256])
def test_the_way_that_is_found_is_nearly_the_shortest(columns):
    """Of all steps only three are tried, so it need not be the very shortest."""
    weight = normal(4, columns, seed=1)
    tensor = native.encode_trellis(weight)
    errors = np.square(weight - dequantize(tensor)).sum(axis=1)
    least = [least_error(w, row, columns) for w, row in zip(weight, tensor.words, strict=True)]
    assert (errors >= np.array(least) * (1 - 1e-5)).all()
    assert errors.sum() < 1.03 * sum(least)


def test_normal_weights_lose_three_fifths_of_what_they_lose_in_groups_of_32():
    weight = normal(64, 1536)
    groups = Scheme(4, granularity="group", group_size=32, scale_type="float16")
    lost = native.relative_error(weight, mse.solve(weight, trellis.SCHEME))
    assert lost < 0.6 * native.relative_error(weight, mse.solve(weight, groups))
    assert lost == pytest.approx(0.0039, abs=0.0001)  # 24.1 dB; no 4.44 bits can do more than 26.7


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_few_large_weights_cost_their_group_alone(dtype):
    weight = 0.02 * normal(8, 512)
    weight[:, 3] = 2
    tensor = mse.solve(weight.astype(dtype), trellis.SCHEME)
    off = np.abs(dequantize(tensor) - weight)
    assert off[:, 3].max() < 0.15
    assert np.square(off[:, 128:]).sum() / np.square(weight[:, 128:]).sum() < 0.005


def test_large_weights_cost_the_groups_behind_them_nothing():
    weight = normal(16, 1536)
    weight[:, :128] *= 1000
    off = np.square(weight - dequantize(mse.solve(weight, trellis.SCHEME)))[:, 128:].sum()
    assert off / np.square(weight[:, 128:]).sum() == pytest.approx(0.0039, abs=0.0001)


@pytest.mark.parametrize("value", [0.0, 1e-30, 2.0**-40])
def test_zeros_and_what_is_too_small_become_zeros(value):
    weight = np.full((3, 160), value, np.float32)
    assert not dequantize(mse.solve(weight, trellis.SCHEME)).any()


@pytest.mark.parametrize(
    ("value", "what"),
    [(np.nan, "not finite"), (-np.inf, "not finite"), (8e3, "too large")],
)
def test_what_has_no_place_is_refused(value, what):
    weight = normal(40, 256)
    weight[33, 200] = value
    with pytest.raises(ValueError, match=what):
        mse.solve(weight, trellis.SCHEME)
    with pytest.raises(ValueError, match=what):
        gptq.solve(weight, trellis.SCHEME, seen(np.eye(256, dtype=np.float32)))


def test_the_largest_and_the_smallest_units():
    weight = normal(2, 128)
    weight[0] *= 7000 / np.abs(weight[0]).max()
    weight[1] *= 1e-6
    off = dequantize(mse.solve(weight, trellis.SCHEME)) - weight
    lost = np.square(off).sum(axis=1) / np.square(weight).sum(axis=1)
    assert lost[0] < 0.006
    assert lost[1] < 0.01


# --- GPTQ --------------------------------------------------------------------------------------


def seen(moment: npt.NDArray[np.float32], tokens: int = 1 << 20) -> InputStatistics:
    nothing = np.zeros(len(moment), np.float32)
    square = moment.diagonal().copy()
    return InputStatistics(tokens, nothing, nothing, square, second_moment=(moment,))


def correlated(columns: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(5)
    mixed = rng.standard_normal((columns, columns)) * rng.random(columns)[:, None] ** 3
    inputs = rng.standard_normal((4 * columns, columns)) @ mixed
    return (inputs.T @ inputs / len(inputs)).astype(np.float32)


def cost(weight: npt.NDArray[np.float32], moment: npt.NDArray[np.float32], made) -> float:
    off = (weight - dequantize(made)).astype(np.float64)
    return float(np.einsum("rj,jk,rk->", off, moment.astype(np.float64), off))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("columns", [96, 256, 320])
def test_feedback_is_the_same_on_every_instruction_set(columns, isa):
    rng = np.random.default_rng(2)
    weight = normal(18, columns)
    feedback = np.tril(0.05 * rng.standard_normal((columns, columns)), -1).astype(np.float32)
    pivots = rng.uniform(0.5, 2, columns).astype(np.float32)
    found = []
    for name in ("portable", isa):
        words, costs = np.zeros((18, trellis_row_bytes(columns)), np.uint8), np.zeros(18)
        _core.encode_trellis_with_feedback(
            _core.ThreadPool(2), weight, weight.copy(), [feedback], pivots, words, costs, isa=name
        )
        made = dequantize(trellis.tensor(words, columns))
        errors = weight - made[:, trellis.code_order(columns)]
        true = np.square(errors + errors @ feedback.T) @ pivots  # off = error + what was fed
        np.testing.assert_allclose(costs, true, rtol=1e-4)
        found.append(words)
    same = (found[0] == found[1]).all(axis=1)
    # Without a fused multiply-add in hardware the last bit of a sum may fall the other way.
    assert same.mean() >= (0.8 if isa != "portable" else 1)


def test_feedback_that_is_not_finite_is_refused():
    weight, feedback = normal(4, 128), np.zeros((128, 128), np.float32)
    feedback[100, 3] = np.nan
    words = np.zeros((4, 71), np.uint8)
    with pytest.raises(ValueError, match="not finite"):
        _core.encode_trellis_with_feedback(
            *(_core.ThreadPool(1), weight, weight.copy(), [feedback], np.ones(128, np.float32)),
            words,
            np.zeros(4),
        )


def test_without_correlation_gptq_is_plain_rounding():
    weight = normal(16, 512)
    plain = mse.solve(weight, trellis.SCHEME)
    made = gptq.solve(weight, trellis.SCHEME, seen(np.eye(512, dtype=np.float32)))
    off, lost = (np.square(weight - dequantize(t)).sum() for t in (made, plain))
    assert lost * 0.98 < off <= lost  # a way is decided on after each group; the better row stays


@pytest.mark.parametrize("columns", [256, 352])
def test_gptq_costs_a_half_of_plain_rounding_and_of_gptq_in_groups(columns):
    weight, moment = normal(24, columns), correlated(columns)
    made = cost(weight, moment, gptq.solve(weight, trellis.SCHEME, seen(moment)))
    assert made < 0.5 * cost(weight, moment, mse.solve(weight, trellis.SCHEME))
    groups = Scheme(4, granularity="group", group_size=32, scale_type="float16")
    assert made < 0.7 * cost(weight, moment, gptq.solve(weight, groups, seen(moment)))


def test_no_row_costs_more_than_plainly_rounded():
    weight, moment = normal(24, 256), correlated(256)
    plain = mse.solve(weight, trellis.SCHEME)
    made = gptq.solve(weight, trellis.SCHEME, seen(moment))
    for row in range(24):
        one = slice(row, row + 1)
        errors = [(weight - dequantize(t))[one].astype(np.float64) for t in (made, plain)]
        first, second = (float((e @ moment @ e.T).item()) for e in errors)
        assert first <= second * (1 + 1e-5)


def test_options_that_ask_for_another_order_are_refused():
    inputs = seen(np.eye(128, dtype=np.float32))
    for options in ({"act_order": True}, {"sweeps": 2}):
        with pytest.raises(ValueError, match="trellis codes"):
            gptq.solve(normal(4, 128), trellis.SCHEME, inputs, **options)
    with pytest.raises(ValueError, match="trellis codes"):
        mse.solve(normal(4, 128), trellis.SCHEME, inputs, weighted=True)
