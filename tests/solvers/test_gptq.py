"""GPTQ: what the paper's own algorithm gives, and never worse than plain rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.solvers.samples import Array, inputs, output_error, statistics, weights

from lichen import _core
from lichen.schemes import BITS, Scheme, dequantize, quantize, trellis
from lichen.solvers import absmax, gptq, mse
from lichen.solvers.moment import along, diagonal
from lichen.tensor import QuantizedTensor

schemes = st.builds(
    lambda bits, symmetric, part, scale_type: Scheme(bits, symmetric, *part, scale_type),
    st.sampled_from(BITS),
    st.booleans(),
    st.sampled_from([("tensor", None), ("channel", None), ("group", 32)]),
    st.sampled_from(["float32", "float16", "bfloat16"]),
)
by_bits = pytest.mark.parametrize("bits", BITS)
by_order = pytest.mark.parametrize("act_order", [False, True], ids=["stored-order", "act-order"])


def paper(
    tensor: QuantizedTensor, weight: Array, moment: Array, *, tokens: int = 512, ridge: float = 1
) -> Array:
    """Codes by arXiv 2210.17323, equations 2 and 3 with section 3.3, step 3, for given scales.

    One column at a time: it is rounded, and its error, over the diagonal of the Cholesky factor of
    H's inverse, is taken from those behind it.  ``ridge`` times the damping of lichen is added.
    """
    h = moment.astype(np.float64)
    h += ridge * (0.01 + len(h) / tokens) * h.diagonal().mean() * np.eye(len(h))
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    left = weight.astype(np.float64)
    size = weight.shape[1] // tensor.scales.shape[1]
    codes = np.empty(weight.shape, np.int8)
    for k in range(weight.shape[1]):
        scale = tensor.scales[:, k // size]
        zero = 0 if tensor.zeros is None else tensor.zeros[:, k // size].astype(np.float64)
        rounded = np.rint(left[:, k] / scale + zero)
        codes[:, k] = np.clip(rounded, tensor.scheme.low, tensor.scheme.high)
        error = (left[:, k] - (codes[:, k] - zero) * scale) / upper[k, k]
        left[:, k:] -= np.outer(error, upper[k, k:])
    return codes


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("part", [("channel", None), ("group", 32)], ids=["channel", "group"])
@pytest.mark.parametrize("columns", [96, 288], ids=["one-block", "two-blocks"])
def test_codes_are_those_of_the_paper_for_the_same_scales(columns, part, symmetric):
    """But for rows where a weight lies so near the middle of two codes that float32 decides."""
    w, x = weights(24, columns), inputs(512, columns)
    found = gptq.solve(w, Scheme(4, symmetric, *part), statistics(x))
    theirs = paper(found, w, statistics(x).second_moment[0])
    assert (theirs == found.codes).all(axis=1).mean() > 0.9
    error = output_error(replace(found, codes=theirs), w, x)
    assert output_error(found, w, x).sum() == pytest.approx(error.sum(), rel=0.01)


def test_with_act_order_codes_are_those_of_the_paper_for_sorted_columns():
    w, x = weights(48, 96), inputs(512, 96, outliers=9)
    seen = statistics(x)
    found = gptq.solve(w, Scheme(4), seen, act_order=True)
    order = np.argsort(-seen.mean_square, kind="stable")
    theirs = paper(found, w[:, order], seen.second_moment[0][np.ix_(order, order)])
    assert (theirs == found.codes[:, order]).all(axis=1).mean() > 0.9


@by_bits
def test_with_act_order_groups_stay_together_those_of_the_largest_inputs_first(bits):
    w, x = weights(48, 128), inputs(512, 128, outliers=9)
    seen = statistics(x)
    found = gptq.solve(w, Scheme(bits, False, "group", 32), seen, act_order=True)
    squares = seen.mean_square.reshape(4, 32)
    groups = np.argsort(-squares.sum(axis=1))
    order = np.concatenate([32 * g + np.argsort(-squares[g]) for g in groups])
    assert found.zeros is not None
    sorted_groups = replace(found, scales=found.scales[:, groups], zeros=found.zeros[:, groups])
    moment = seen.second_moment[0][np.ix_(order, order)]
    theirs = paper(sorted_groups, w[:, order], moment)
    assert (theirs == found.codes[:, order]).all(axis=1).mean() > 0.9
    unsorted = gptq.solve(w, Scheme(bits, False, "group", 32), seen)
    assert (found.scales != unsorted.scales).any()


@by_order
@by_bits
def test_inputs_without_correlation_leave_plain_rounding(bits, act_order):
    w, seen = weights(16, 64), statistics(inputs(8, 64))
    alone = replace(seen, second_moment=(np.eye(64, dtype=np.float32),))
    found = gptq.solve(w, Scheme(bits), alone, act_order=act_order)
    again = quantize(w, found.scales, found.scheme)
    np.testing.assert_array_equal(found.codes, again.codes)


@settings(max_examples=50)
@given(st.data())
def test_on_its_calibration_data_no_row_is_worse_than_absmax(data):
    scheme, seed = data.draw(schemes), data.draw(st.integers(0, 99))
    rows, columns = data.draw(st.sampled_from([(1, 32), (5, 96), (17, 288)]))
    w = weights(rows, columns, seed)
    x = inputs(data.draw(st.sampled_from([7, 400])), columns, seed, outliers=columns // 32)
    x[:, data.draw(st.lists(st.integers(0, columns - 1), max_size=9))] = 0
    act_order, sweeps = data.draw(st.booleans()), data.draw(st.sampled_from([0, 2]))
    found = gptq.solve(w, scheme, statistics(x), act_order=act_order, sweeps=sweeps)
    plain = absmax.solve(w, scheme)
    ours, theirs = (output_error(tensor, w, x) for tensor in (found, plain))
    if scheme.granularity == "tensor":
        ours, theirs = ours.sum(), theirs.sum()
    squares = np.square(dequantize(plain) - w).sum(axis=1).max() * np.square(x).mean()
    assert (ours <= theirs * 1.001 + 1e-5 * squares).all()


@by_order
@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("size", [None, 32])
def test_the_error_is_far_smaller_where_inputs_move_together(size, symmetric, bits, act_order):
    w, x = weights(16, 256), inputs(512, 256)
    scheme = Scheme(bits, symmetric, "group" if size else "channel", size)
    found = gptq.solve(w, scheme, statistics(x), act_order=act_order)
    fitted = mse.solve(w, scheme, statistics(x), weighted=True)
    assert output_error(found, w, x).sum() < 0.6 * output_error(fitted, w, x).sum()


@by_order
def test_columns_whose_inputs_are_always_zero_are_plainly_rounded(act_order):
    w, x = weights(16, 96), inputs(512, 96)
    dead = [0, 5, 40, 95]
    x[:, dead] = 0
    found = gptq.solve(w, Scheme(4, True, "group", 32), statistics(x), act_order=act_order)
    again = quantize(w, found.scales, found.scheme)
    np.testing.assert_array_equal(found.codes[:, dead], again.codes[:, dead])


def test_inputs_that_are_all_zero_are_no_fault():
    w = weights(4, 64)
    found = gptq.solve(w, Scheme(4), statistics(np.zeros((8, 64), np.float32)))
    assert np.abs(dequantize(found) - w).max() < np.abs(found.scales).max()


@by_order
@pytest.mark.parametrize("tokens", [40, 100, 400], ids=lambda tokens: f"{tokens}-tokens")
def test_products_of_unseen_inputs_gain_too_however_few_were_seen(tokens, act_order):
    """The second moment of 40 or 100 tokens in 256 columns is singular, of 400 little better."""
    w, x = weights(64, 256), inputs(1424, 256, rank=100)
    seen, unseen = statistics(x[:tokens]), x[400:]
    scheme = Scheme(4, True, "group", 32)
    found = gptq.solve(w, scheme, seen, act_order=act_order)
    fitted = mse.solve(w, scheme)
    assert output_error(found, w, unseen).sum() < output_error(fitted, w, unseen).sum()


@by_order
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_a_scale_that_many_columns_share_is_stored_in_its_type(granularity, act_order):
    found = gptq.solve(
        weights(16, 96),
        Scheme(4, True, granularity, scale_type="float16"),
        statistics(inputs(64, 96)),
        act_order=act_order,
    )
    np.testing.assert_array_equal(found.scales.astype(np.float16).astype("f4"), found.scales)


def test_a_row_does_not_depend_on_those_beside_it():
    w, seen = weights(40, 96), statistics(inputs(512, 96))
    scheme = Scheme(4, True, "group", 32)
    whole, part = gptq.solve(w, scheme, seen), gptq.solve(w[17:23], scheme, seen)
    np.testing.assert_array_equal(whole.codes[17:23], part.codes)
    np.testing.assert_array_equal(whole.scales[17:23], part.scales)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_refused(value):
    w = weights(4, 32)
    w[-1, -1] = value
    with pytest.raises(ValueError, match="weights are not finite"):
        gptq.solve(w, Scheme(4), statistics(inputs(64, 32)))


def test_without_a_second_moment_it_says_what_is_missing():
    for seen in (None, replace(statistics(inputs(64, 32)), second_moment=None)):
        with pytest.raises(ValueError, match="gptq needs the second moment of its inputs"):
            gptq.solve(weights(4, 32), Scheme(4), seen)


@pytest.mark.parametrize("damping", [0.0, -1.0, np.nan])
def test_damping_that_is_not_above_zero_is_refused(damping):
    with pytest.raises(ValueError, match="damping must be greater than 0"):
        gptq.solve(weights(4, 32), Scheme(4), statistics(inputs(64, 32)), damping=damping)


def test_a_negative_number_of_sweeps_is_refused():
    with pytest.raises(ValueError, match="sweeps must not be negative"):
        gptq.solve(weights(4, 32), Scheme(4), statistics(inputs(64, 32)), sweeps=-1)


def test_where_float32_cannot_factor_h_damping_is_raised():
    """A few first tokens of huge inputs in a fixed direction (arXiv 2402.17762) leave nothing else
    of their columns in float32."""
    w, x = weights(16, 256), inputs(2048, 256)
    x[::512, :20] = 1e5 * x[7, :20]
    many = replace(statistics(x), tokens=10**9)  # so that their number asks for no damping
    found = gptq.solve(w, Scheme(4), many, damping=1e-9)
    fitted = mse.solve(w, Scheme(4), statistics(x), weighted=True)
    assert output_error(found, w, x).sum() < output_error(fitted, w, x).sum()
    assert not _core.factor(_core.ThreadPool(1), statistics(x).second_moment[0].copy())


def test_damping_is_raised_no_further_than_to_twice_what_fails():
    w, x = weights(16, 256), inputs(2048, 256)
    x[::512, :20] = 1e5 * x[7, :20]
    many = replace(statistics(x), tokens=10**9)

    def fails(damping: float) -> bool:
        h = many.second_moment[0].copy()
        h[np.diag_indices(256)] += np.float32(damping * h.diagonal().mean(dtype=np.float64))
        return not _core.factor(_core.ThreadPool(1), h)

    of_tokens = 256 / many.tokens
    enough = next(d for d in (1e-9 + of_tokens) * 2.0 ** np.arange(40) if not fails(d))
    assert enough > 1e-9 + of_tokens
    found = gptq.solve(w, Scheme(4), many, damping=1e-9)
    expected = gptq.solve(w, Scheme(4), many, damping=enough - of_tokens)
    np.testing.assert_array_equal(found.codes, expected.codes)


def test_a_matrix_that_is_no_second_moment_is_refused():
    seen = statistics(inputs(64, 32))
    flipped = seen.second_moment[0].copy()
    flipped[3, 4] = flipped[4, 3] = 100 * flipped.diagonal().max()
    with pytest.raises(ValueError, match="not positive definite"):
        gptq.solve(weights(4, 32), Scheme(4), replace(seen, second_moment=(flipped,)))


# --- second moments in blocks -----------------------------------------------------------------


def beside(*blocks: Array) -> Array:
    """The matrix that has these along its diagonal."""
    size = sum(map(len, blocks))
    whole = np.zeros((size, size), np.float32)
    for columns, block in along(blocks):
        whole[columns, columns] = block
    return whole


@settings(max_examples=30)
@given(st.data())
def test_a_moment_in_blocks_gives_what_it_gives_as_one_matrix(data):
    """To the bit, for what is left out are products with zeros; but for a last block that is not of
    whole 256 columns, with which others are worked on together: there float32 decides some codes.
    """
    scheme = data.draw(st.one_of(schemes, st.just(trellis.SCHEME)))
    last = data.draw(st.sampled_from([32, 96, 256, 288, 512]))
    blocks = [256] * data.draw(st.integers(1, 2)) + [last]
    w = weights(5, sum(blocks), data.draw(st.integers(0, 99)))
    sweeps = 0 if scheme.trellis else data.draw(st.sampled_from([0, 2]))
    x = inputs(700, w.shape[1], outliers=3)
    x[:, data.draw(st.lists(st.integers(0, w.shape[1] - 1), max_size=9))] = 0
    seen = replace(statistics(x), tokens=10**30)  # so that no width asks for other damping
    [whole] = seen.second_moment
    ends = np.cumsum(blocks)
    cut = tuple(whole[e - n : e, e - n : e].copy() for e, n in zip(ends, blocks, strict=True))
    found, expected = (
        gptq.solve(w, scheme, replace(seen, second_moment=moment), damping=0.3, sweeps=sweeps)
        for moment in (cut, (beside(*cut),))
    )
    ours, theirs = dequantize(found), dequantize(expected)
    same = np.isclose(ours, theirs, rtol=1e-6, atol=0) if last % 256 else ours == theirs
    assert same.mean() >= (0.6 if last % 256 else 1)


def test_with_act_order_columns_are_sorted_within_their_block():
    w, x = weights(48, 512), inputs(512, 512, outliers=9)
    seen = statistics(x)
    [whole] = seen.second_moment
    first, second = whole[:256, :256].copy(), whole[256:, 256:].copy()
    found = gptq.solve(w, Scheme(4), replace(seen, second_moment=(first, second)), act_order=True)
    for columns, block in along((first, second)):
        order = np.argsort(-block.diagonal(), kind="stable")
        ridge = diagonal((first, second)).mean() / block.diagonal().mean()
        theirs = paper(found, w[:, columns][:, order], block[np.ix_(order, order)], ridge=ridge)
        assert (theirs == found.codes[:, columns][:, order]).all(axis=1).mean() > 0.9


def test_fewer_columns_of_a_block_ask_for_less_damping():
    """A moment of as many columns as tokens is far from that of other text, of half it is less."""
    w, x = weights(8, 512), inputs(512, 512)
    seen = statistics(x)
    [whole] = seen.second_moment
    cut = whole[:256, :256].copy(), whole[256:, 256:].copy()
    found = gptq.solve(w, Scheme(4), replace(seen, second_moment=cut))
    many = replace(seen, tokens=10**9, second_moment=cut)
    expected = gptq.solve(w, Scheme(4), many, damping=0.01 + 256 / 512 - 256e-9)
    np.testing.assert_array_equal(found.codes, expected.codes)
