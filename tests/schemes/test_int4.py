"""int4 in groups: the words of compressed-tensors, zero points, and half a step of error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize as their_quantize

from lichen.schemes import Scheme, dequantize, int4, quantize


@pytest.mark.parametrize("columns", [8, 96, 13])
def test_words_equal_compressed_tensors(columns):
    codes = np.random.default_rng(0).integers(-8, 8, (7, columns), dtype=np.int8)
    theirs = pack_to_int32(torch.from_numpy(codes), 4).numpy()
    np.testing.assert_array_equal(int4.pack(codes), theirs)


def test_the_first_code_is_in_the_lowest_bits():
    assert int4.pack(np.array([[-7, -8, -8, -8, -8, -8, -8, -8]], np.int8)).tolist() == [[1]]


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero-points"])
@pytest.mark.parametrize("size", int4.GROUP_SIZES)
def test_codes_equal_compressed_tensors(size, symmetric):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((5, 2 * size)).astype(np.float32)
    scales = rng.uniform(0.2, 0.4, (5, 2)).astype(np.float32)
    zeros = None if symmetric else rng.integers(-8, 8, (5, 2), dtype=np.int8)
    args = QuantizationArgs(num_bits=4, strategy="group", group_size=size, symmetric=symmetric)
    theirs = their_quantize(
        torch.from_numpy(weight),
        torch.from_numpy(scales),
        torch.zeros(5, 2, dtype=torch.int8) if zeros is None else torch.from_numpy(zeros),
        args,
        dtype=torch.int8,
    )
    ours = quantize(weight, scales, Scheme(4, symmetric, "group", size), zeros)
    np.testing.assert_array_equal(ours.codes, theirs.numpy())
    shift = np.zeros((5, 2), np.int8) if zeros is None else zeros
    wide = np.repeat(shift, size, axis=1), np.repeat(scales, size, axis=1)
    np.testing.assert_array_equal(
        dequantize(ours), (ours.codes.astype(np.float32) - wide[0]) * wide[1]
    )


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [
        (int4.SCHEME, 4.5),
        (Scheme(4, True, "group", 128, "bfloat16"), 4.125),
        (Scheme(4, False, "group", 64, "float16"), 4.3125),
    ],
)
def test_bits_of_a_weight_count_scales_and_zero_points(scheme, bits):
    assert scheme.stored_bits(10, 256) == bits * 2560
