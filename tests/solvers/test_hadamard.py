"""The rotation: the matrix of its definition, orthogonal, the same with any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.solvers.samples import Array

from lichen import _core
from lichen.solvers.hadamard import rotate, signs


def matrix(length: int) -> Array:
    """``diag(signs) (C_m (x) H)``, written down in float64."""
    power = length & -length
    odd = length // power
    angles = 2 * np.pi * np.outer(np.arange(odd), np.arange(odd)) / odd
    hadamard = np.ones((1, 1))
    while len(hadamard) < power:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    made: Array = np.kron(np.cos(angles) + np.sin(angles), hadamard) / np.sqrt(length)
    return signs(length)[:, None] * made


lengths = st.sampled_from([1, 2, 3, 7, 12, 24, 64, 96, 576, 896])
few = st.integers(1, 40)


@settings(deadline=None)
@given(lengths, few, st.integers(1, 3), st.sampled_from([0, 1]), st.integers(0, 2**32 - 1))
def test_vectors_are_multiplied_by_the_matrix(length, others, blocks, axis, seed):
    shape = (others, blocks * length) if axis else (blocks * length, others)
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    rotated = x.copy()
    rotate(rotated, axis, length)
    whole = np.kron(np.eye(blocks), matrix(length))
    expected = x @ whole if axis else whole.T @ x
    np.testing.assert_allclose(rotated, expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 9, 64, 896, 1536])
def test_the_matrix_is_orthogonal(length):
    np.testing.assert_allclose(matrix(length) @ matrix(length).T, np.eye(length), atol=1e-12)


@pytest.mark.parametrize("length", [64, 896])
def test_one_outlier_is_spread_over_all_columns(length):
    x = np.zeros((1, length), np.float32)
    x[0, 5] = 1
    rotate(x, 1, length)
    assert np.abs(x).max() <= np.sqrt(2 / length) * 1.0001


@pytest.mark.parametrize("shape", [(3, 896, 1), (100, 896, 1), (1, 896, 37), (4, 64, 33)])
def test_threads_make_no_difference(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    results = []
    for threads in (1, 2, 5):
        turned = x.copy()
        _core.rotate(_core.ThreadPool(threads), turned, signs(shape[1]))
        results.append(turned.tobytes())
    assert len(set(results)) == 1


def test_blocks_must_divide_the_axis():
    with pytest.raises(ValueError, match="whole blocks of 5"):
        rotate(np.zeros((4, 12), np.float32), 1, 5)


def test_the_core_refuses_signs_of_another_length():
    with pytest.raises(ValueError, match="signs must be"):
        _core.rotate(_core.ThreadPool(1), np.zeros((1, 8, 1), np.float32), signs(4))
