"""Packed codes: the words of compressed-tensors for every number of bits, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import (
    pack_to_int32,
    unpack_from_int32,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lichen.row_blocks import BLOCK_ELEMENTS
from lichen.schemes import BITS
from lichen.schemes.packing import pack, packed_columns, unpack

every_bits = pytest.mark.parametrize("bits", [*BITS, 7])


def codes_of(bits: int, shape: tuple[int, int]) -> np.ndarray:
    half = 1 << (bits - 1)
    return np.random.default_rng(bits).integers(-half, half, shape, dtype=np.int8)


@every_bits
@given(data=st.data())
def test_words_are_those_of_compressed_tensors_and_unpack_to_the_codes(bits, data):
    half = 1 << (bits - 1)
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 80)))
    codes = data.draw(hnp.arrays(np.int8, shape, elements=st.integers(-half, half - 1)))
    words = pack(codes, bits)
    assert words.dtype == np.int32
    assert words.shape == (len(codes), packed_columns(shape[1], bits))
    theirs = pack_to_int32(torch.from_numpy(codes), bits)
    np.testing.assert_array_equal(words, theirs.numpy())
    np.testing.assert_array_equal(unpack(words, bits, shape[1]), codes)
    back = unpack_from_int32(torch.from_numpy(words), bits, torch.Size(shape))
    np.testing.assert_array_equal(back.numpy(), codes)


@every_bits
def test_large_arrays_are_packed_in_parts(bits):
    codes = codes_of(bits, (5, BLOCK_ELEMENTS // 2 + 3))
    words = pack(codes, bits)
    np.testing.assert_array_equal(words, pack_to_int32(torch.from_numpy(codes), bits).numpy())
    np.testing.assert_array_equal(unpack(words, bits, codes.shape[1]), codes)


@every_bits
def test_columns_are_packed_as_rows_of_the_transposed(bits):
    """Zero points are packed along the outputs; the arrays that come in are not contiguous."""
    codes = codes_of(bits, (45, 3))
    theirs = pack_to_int32(torch.from_numpy(codes), bits, packed_dim=0).numpy()
    np.testing.assert_array_equal(pack(codes.T, bits).T, theirs)
    np.testing.assert_array_equal(unpack(theirs.T, bits, 45).T, codes)


def test_the_first_code_is_in_the_lowest_bits_and_one_may_lie_across_words():
    assert pack(np.array([[-7, *[-8] * 7]], np.int8), 4).tolist() == [[1]]
    eleventh = np.full((1, 12), -4, np.int8)
    eleventh[0, 10] = 3  # three ones: bits 30 and 31, and bit 0 of the next word
    assert pack(eleventh, 3).view(np.uint32).tolist() == [[0xC0000000, 1]]
