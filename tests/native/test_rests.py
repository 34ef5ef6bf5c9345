"""Inputs of trellis codes that one value outweighs: what codes leave of them is not lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from tests.native.test_linear import POOL, normal

from lichen import _core, reference
from lichen.schemes import ActivationScheme, dequantize, trellis
from lichen.solvers import native
from lichen.tensor import TrellisTensor

Float32 = npt.NDArray[np.float32]

COLUMNS = 320  # the last group is of 64


def weight() -> TrellisTensor:
    return native.encode_trellis(normal(1, 70, COLUMNS))


def product(tensor: TrellisTensor, x: Float32, isa: str) -> Float32:
    linear = _core.Linear(POOL, tensor.words, "t4", None, None, isa, input_group=trellis.GROUP)
    return linear.apply(POOL, x)


def lopsided(tokens: int) -> Float32:
    """Every other row has a value in its second group that is 1,000 times the others."""
    x = normal(2, tokens, COLUMNS)
    x[::2, 200] = 1000
    return x


def errors(y: Float32, tensor: TrellisTensor, x: Float32) -> npt.NDArray[np.float64]:
    """Of each row, relative to what its ordinary columns make."""
    wanted = x.astype(np.float64) @ dequantize(tensor).T
    ordinary = np.where(np.abs(x) < 100, x, 0) @ dequantize(tensor).T
    return np.linalg.norm(y - wanted, axis=1) / np.linalg.norm(ordinary, axis=1)


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("tokens", [1, 2, 9, 150])
def test_what_one_value_outweighs_is_not_lost(isa: str, tokens: int) -> None:
    tensor, x = weight(), lopsided(tokens)
    found = errors(product(tensor, x, isa), tensor, x)
    assert found.max() < 2e-2  # like that of rows which none outweighs; their codes alone lose 0.66


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_a_row_is_the_same_alone_and_among_others(isa: str) -> None:
    tensor, x = weight(), lopsided(150)
    together = product(tensor, x, isa)
    for token in (0, 1, 77, 148):
        alone = product(tensor, x[token : token + 1], isa)
        np.testing.assert_array_equal(alone[0], together[token])


def test_the_reference_does_the_same() -> None:
    tensor, x = weight(), lopsided(9)
    inputs = ActivationScheme("group", group_size=trellis.GROUP)
    meeting = replace(tensor, activations=inputs)
    y = product(tensor, x, "portable")
    np.testing.assert_allclose(y, reference.linear(x, meeting), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_makes_its_row_nan_and_no_other(value: float) -> None:
    tensor, x = weight(), lopsided(3)
    x[0, 200] = value
    y = product(tensor, x, "portable")
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1:]).all()
