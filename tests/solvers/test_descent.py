"""Coordinate descent: what its paper's equation gives in float64, and never a higher cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.solvers.samples import Array, inputs, output_error, statistics, weights

from lichen.schemes import BITS, Scheme, dequantize, quantize
from lichen.solvers import absmax, gptq
from lichen.solvers.descent import descend
from lichen.tensor import QuantizedTensor

SCHEMES = {
    "tensor": ("tensor", None),
    "channel": ("channel", None),
    "group": ("group", 32),
    "wide-group": ("group", 128),
}
by_part = pytest.mark.parametrize("part", SCHEMES.values(), ids=SCHEMES)
by_symmetry = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])


def swept(weight: Array, tensor: QuantizedTensor, moment: Array, ridge: float) -> Array:
    """What one sweep makes of ``tensor``, in float64, with the products made anew each time."""
    scheme, columns = tensor.scheme, weight.shape[1]
    size = columns // tensor.scales.shape[1]
    h = moment[0].astype(np.float64) + ridge * np.eye(columns)
    w = weight.astype(np.float64)
    shape = (len(w), tensor.scales.shape[1])
    scales = np.broadcast_to(tensor.scales, shape).astype(np.float64)
    zeros = np.zeros(shape) if tensor.zeros is None else np.broadcast_to(tensor.zeros, shape)
    steps = tensor.codes - np.repeat(zeros, size, axis=1)

    def pull() -> Array:
        product: Array = (w - steps * np.repeat(scales, size, axis=1)) @ h
        return product

    for k in range(columns):
        part = k // size
        if k % size == 0 and scheme.granularity == "group":
            columns_of = slice(k, k + size)
            p = steps[:, columns_of]
            squares = np.einsum("ri,ij,rj->r", p, h[columns_of, columns_of], p)
            gain = np.einsum("ri,ri->r", pull()[:, columns_of], p)
            change = np.divide(gain, squares, where=squares > 0, out=np.zeros_like(gain))
            scales[:, part] = (scales[:, part] + change).astype(scheme.scale_type)
        scale, zero = scales[:, part], zeros[:, part]
        wanted = (steps[:, k] * scale + pull()[:, k] / h[k, k]) / scale + zero
        steps[:, k] = np.clip(np.rint(wanted), scheme.low, scheme.high) - zero
    value: Array = steps * np.repeat(scales, size, axis=1)
    return value


@by_symmetry
@by_part
@pytest.mark.parametrize("columns", [128, 384], ids=["one-block", "two-blocks"])
def test_a_sweep_is_that_of_the_paper(columns, part, symmetric):
    """But for weights so near the middle of two codes that float32 decides, and what follows."""
    w, moment = weights(40, columns), statistics(inputs(512, columns)).second_moment
    start = absmax.solve(w, Scheme(4, symmetric, *part, "float16"))
    found, _ = descend(w, start, moment, 0.1, 1)
    theirs = swept(w, start, moment, 0.1)
    same = np.isclose(dequantize(found), theirs, rtol=1e-5, atol=1e-7).all(axis=1)
    assert same.mean() > 0.8
    assert (found.codes != start.codes).mean() > 0.02


@settings(max_examples=40)
@given(st.data())
def test_no_row_costs_more_after_any_sweep(data):
    bits, symmetric = data.draw(st.sampled_from(BITS)), data.draw(st.booleans())
    scheme = Scheme(bits, symmetric, *data.draw(st.sampled_from(list(SCHEMES.values()))))
    rows, columns = data.draw(st.sampled_from([(1, 128), (5, 256), (17, 384)]))
    seed = data.draw(st.integers(0, 99))
    w, x = weights(rows, columns, seed), inputs(400, columns, seed, outliers=columns // 32)
    x[:, data.draw(st.lists(st.integers(0, columns - 1), max_size=9))] = 0
    moment = statistics(x).second_moment
    tensor, ridge = absmax.solve(w, scheme), 0.01 * float(moment[0].diagonal().mean())

    def cost(tensor: QuantizedTensor) -> Array:
        squares = np.square(dequantize(tensor).astype(np.float64) - w).sum(axis=1)
        return output_error(tensor, w, x) + ridge * squares

    for _ in range(3):
        before = cost(tensor)
        tensor, told = descend(w, tensor, moment, ridge, 1)
        assert (cost(tensor) <= before * (1 + 1e-4) + 1e-9).all()
        np.testing.assert_allclose(told, output_error(tensor, w, x), rtol=1e-2, atol=1e-7)


@by_symmetry
@pytest.mark.parametrize("bits", [4, 3, 2])
def test_it_improves_what_rounding_with_feedback_leaves(bits, symmetric):
    w, x = weights(64, 256), inputs(1024, 256, rank=100)
    scheme = Scheme(bits, symmetric, "group", 32)
    errors = [
        output_error(gptq.solve(w, scheme, statistics(x), sweeps=sweeps), w, x).sum()
        for sweeps in (0, 1, 4)
    ]
    assert errors[2] < errors[1] < 0.97 * errors[0]


def test_inputs_without_correlation_leave_plain_rounding():
    w = weights(16, 64)
    start = absmax.solve(w, Scheme(4))
    found, _ = descend(w, start, (np.eye(64, dtype=np.float32),), 0.1, 2)
    np.testing.assert_array_equal(found.codes, quantize(w, start.scales, start.scheme).codes)
    np.testing.assert_array_equal(found.scales, start.scales)


def test_what_it_is_given_stays_as_it_was():
    w, moment = weights(4, 64), statistics(inputs(64, 64)).second_moment
    start = absmax.solve(w, Scheme(4, True, "group", 32))
    kept = [array.copy() for array in (w, start.codes, start.scales, *moment)]
    descend(w, start, moment, 0.1, 1)
    for array, before in zip((w, start.codes, start.scales, *moment), kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_groups_of_zeros_keep_their_scales():
    w = weights(4, 64)
    w[:, :32] = 0
    start = absmax.solve(w, Scheme(4, True, "group", 32))
    found, _ = descend(w, start, (np.eye(64, dtype=np.float32),), 0.1, 2)
    assert (found.codes[:, :32] == 0).all()
    np.testing.assert_array_equal(found.scales[:, 0], start.scales[:, 0])
