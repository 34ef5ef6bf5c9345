"""int8 per channel: round trips within half a step, and the same codes as compressed-tensors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize as their_quantize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lichen.row_blocks import BLOCK_ELEMENTS
from lichen.schemes import (
    Scheme,
    dequantize,
    int8,
    quantize,
    to_float32,
)
from lichen.tensor import QuantizedTensor

WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(WEIGHTS)
def test_every_weight_is_within_half_a_step_or_at_the_cut(weight):
    scales = np.maximum(np.abs(weight).max(1, keepdims=True) / np.float32(127.5), 1e-30)
    scales = scales.astype(np.float32)
    back = dequantize(quantize(weight, scales, int8.SCHEME))
    assert (np.abs(back - weight) <= 0.5001 * scales).all()


@given(WEIGHTS)
def test_what_lies_on_the_grid_comes_back_as_it_was(weight):
    codes = np.clip(np.rint(weight), -128, 127).astype(np.int8)
    scales = np.full((len(codes), 1), 0.25, np.float32)
    again = quantize(codes.astype(np.float32) * scales, scales, int8.SCHEME)
    np.testing.assert_array_equal(again.codes, codes)


def test_halves_round_to_even_and_the_top_is_cut():
    weight = np.array([[0.5, 1.5, 2.5, -0.5, 127.5, 300, -127.5, -300]], np.float32)
    tensor = quantize(weight, np.ones((1, 1), np.float32), int8.SCHEME)
    assert tensor.codes.tolist() == [[0, 2, 2, 0, 127, 127, -128, -128]]


def test_codes_equal_compressed_tensors():
    weight = np.random.default_rng(0).standard_normal((37, 65), np.float32)
    scales = (np.abs(weight).max(1, keepdims=True) / np.float32(127.5)).astype(np.float32)
    args = QuantizationArgs(num_bits=8, strategy="channel", symmetric=True)
    zero = torch.zeros(37, 1, dtype=torch.int8)
    theirs = their_quantize(
        torch.from_numpy(weight), torch.from_numpy(scales), zero, args, dtype=torch.int8
    )
    np.testing.assert_array_equal(quantize(weight, scales, int8.SCHEME).codes, theirs.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_any_float_type_gives_the_codes_of_its_float32(dtype):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((5, BLOCK_ELEMENTS // 2), np.float32).astype(dtype)
    scales = np.full((5, 1), 0.03, np.float32)
    expected = quantize(weight.astype(np.float32), scales, int8.SCHEME)
    np.testing.assert_array_equal(quantize(weight, scales, int8.SCHEME).codes, expected.codes)


def test_bfloat16_widens_as_ml_dtypes_does():
    every = np.arange(1 << 16, dtype=np.uint16)
    finite = every[every & 0x7F80 != 0x7F80].view(ml_dtypes.bfloat16)
    assert len(finite) == (1 << 16) - 2 * (1 << 7)
    np.testing.assert_array_equal(to_float32(finite), finite.astype(np.float32))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [1, 4], ids=["per-channel", "four-groups"])
def test_dequantize_applies_zeros_and_scales_group_by_group(groups, symmetric):
    rng = np.random.default_rng(2)
    codes = rng.integers(-128, 128, (6, 8)).astype(np.int8)
    scales = rng.random((6, groups), np.float32)
    zeros = None if symmetric else rng.integers(-9, 9, (6, groups)).astype(np.int8)
    tensor = QuantizedTensor(codes, scales, zeros, Scheme(8, symmetric))
    width = 8 // groups
    shift = 0 if zeros is None else np.repeat(zeros, width, 1).astype(np.float32)
    expected = (codes.astype(np.float32) - shift) * np.repeat(scales, width, 1)
    np.testing.assert_array_equal(dequantize(tensor), expected)


def test_dequantize_of_one_scale_for_the_tensor():
    codes = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    tensor = QuantizedTensor(codes, np.array([[0.5]], np.float32), None, Scheme(8))
    np.testing.assert_array_equal(dequantize(tensor), codes * np.float32(0.5))
