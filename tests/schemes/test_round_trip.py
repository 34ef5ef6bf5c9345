"""What every number format has to keep."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lichen.schemes import BITS, Scheme, dequantize, in_groups, quantize
from lichen.solvers import absmax, solver, solvers
from lichen.solvers.statistics import InputStatistics

PARTS = {"tensor": None, "channel": None, "group": 32}
FORMATS = {
    f"int{bits}-{part}" + ("" if symmetric else "-zeros"): Scheme(
        bits, symmetric, part, PARTS[part]
    )
    for bits, part, symmetric in product(BITS, PARTS, (True, False))
}
#: Of an input of 64 columns, over as many tokens: nothing but ones, one at a time.
INPUTS = InputStatistics(
    tokens=64,
    absmax=np.ones(64, np.float32),
    mean_absolute=np.full(64, 1 / 64, np.float32),
    mean_square=np.full(64, 1 / 64, np.float32),
    second_moment=(np.eye(64, dtype=np.float32) / 64,),
)
every_format = pytest.mark.parametrize("scheme", FORMATS.values(), ids=FORMATS)


def weights(columns: int, size: float = 1e4) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, 5).flatmap(
        lambda rows: hnp.arrays(
            np.float32, (rows, columns), elements=st.floats(-size, size, width=32)
        )
    )


@pytest.mark.parametrize("name", solvers())
@pytest.mark.parametrize(
    "scheme",
    [Scheme(bits, True, *part) for bits in (8, 4, 2) for part in (("channel",), ("group", 32))],
    ids=str,
)
@given(data=st.data())
def test_every_solver_gives_what_the_scheme_says(scheme, name, data):
    weight = data.draw(weights(64))
    if name == "entropy" and scheme.granularity == "group":
        with pytest.raises(ValueError, match="per channel or tensor"):
            solver(name).solve(weight, scheme)
        return
    tensor = solver(name).solve(weight, scheme, INPUTS)
    assert (tensor.codes.dtype, tensor.scales.dtype) == (np.int8, np.float32)
    assert tensor.shape == weight.shape
    assert tensor.scales.shape == scheme.scale_shape(*weight.shape)
    assert tensor.codes.min() >= scheme.low
    assert tensor.codes.max() <= scheme.high
    assert tensor.scales.all()


@every_format
@settings(max_examples=20)
@given(data=st.data())
def test_over_the_whole_range_every_weight_is_within_a_step(scheme, data):
    """Half a step from rounding, half from the code that one end of the range lacks."""
    weight = data.draw(weights(64))
    tensor = absmax.solve(weight, scheme)
    assert tensor.scales.shape == scheme.scale_shape(*weight.shape)
    assert (tensor.zeros is None) == scheme.symmetric
    groups = tensor.scales.shape[1]
    error = in_groups(np.abs(dequantize(tensor) - weight), groups).max(axis=2)
    assert (error <= 1.001 * np.abs(tensor.scales)).all()


@every_format
@settings(max_examples=20)
@given(data=st.data())
def test_what_lies_on_the_grid_comes_back_as_it_was(scheme, data):
    codes = data.draw(hnp.arrays(np.int8, (3, 64), elements=st.integers(scheme.low, scheme.high)))
    scales = np.full(scheme.scale_shape(3, 64), 0.25, np.float32)
    again = quantize(codes.astype(np.float32) * np.float32(0.25), scales, scheme)
    np.testing.assert_array_equal(again.codes, codes)
