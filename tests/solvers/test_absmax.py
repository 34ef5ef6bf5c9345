"""Absmax scales: those of compressed-tensors, rounded to the type that they are stored in."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.utils import calculate_qparams

from lichen.schemes import Scheme, dequantize
from lichen.solvers import absmax, solver, solvers

TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.fixture
def weight():
    weight = np.random.default_rng(0).standard_normal((16, 48), np.float32)
    weight[3] = 0
    return weight


def test_it_is_found_by_its_name():
    assert "absmax" in solvers()
    assert solver("absmax") is absmax


def test_scales_equal_compressed_tensors_zero_rows_included(weight):
    args = QuantizationArgs(num_bits=8, strategy="channel", symmetric=True)
    rows = torch.from_numpy(weight)
    theirs, _ = calculate_qparams(rows.amin(1, keepdim=True), rows.amax(1, keepdim=True), args)
    np.testing.assert_array_equal(absmax.solve(weight, Scheme(8)).scales, theirs.numpy())


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero-points"])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_groups_equal_compressed_tensors(size, symmetric):
    rows = np.random.default_rng(1).standard_normal((9, 384), np.float32) + np.float32(0.3)
    rows[2, :size] = 0
    args = QuantizationArgs(num_bits=4, strategy="group", group_size=size, symmetric=symmetric)
    groups = torch.from_numpy(rows).reshape(9, -1, size)
    scales, zeros = calculate_qparams(groups.amin(2), groups.amax(2), args)
    ours = absmax.solve(rows, Scheme(4, symmetric, "group", size))
    np.testing.assert_array_equal(ours.scales, scales.numpy())
    if symmetric:
        assert ours.zeros is None
    else:
        zeros[2, 0] = -8  # they divide zero by zero there; any zero point would do
        np.testing.assert_array_equal(ours.zeros, zeros.numpy())


@pytest.mark.parametrize("kind", TYPES)
def test_scales_survive_being_stored_in_their_type(weight, kind):
    scales = absmax.solve(weight, Scheme(8, scale_type=kind)).scales
    assert scales.dtype == np.float32
    np.testing.assert_array_equal(scales.astype(TYPES[kind]).astype(np.float32), scales)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", [1e-7, 1.0, 1e4])
def test_the_error_stays_below_one_step_whatever_the_size_of_a_row(weight, kind, size):
    tensor = absmax.solve(weight * np.float32(size), Scheme(8, scale_type=kind))
    assert (tensor.scales > 0).all()
    error = np.abs(dequantize(tensor) - weight * np.float32(size))
    assert (error <= tensor.scales).all()


def test_a_zero_row_stays_zero(weight):
    assert not dequantize(absmax.solve(weight, Scheme(8)))[3].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
def test_weights_that_are_not_finite_are_refused(weight, value, dtype):
    weight[-1, -1] = value
    with pytest.raises(ValueError, match="not finite"):
        absmax.solve(weight.astype(dtype), Scheme(8))
