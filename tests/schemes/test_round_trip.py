"""What every number format has to keep; a new file in `lichen.schemes` is found and tested."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lichen import schemes
from lichen.schemes import dequantize, in_groups, quantize
from lichen.solvers import absmax, solver, solvers
from lichen.solvers.statistics import InputStatistics

FORMATS = {
    module.name: importlib.import_module(f"lichen.schemes.{module.name}")
    for module in pkgutil.iter_modules(schemes.__path__)
}
#: Of an input of 64 columns, over as many tokens: nothing but ones, one at a time.
INPUTS = InputStatistics(
    tokens=64,
    absmax=np.ones(64, np.float32),
    mean_absolute=np.full(64, 1 / 64, np.float32),
    mean_square=np.full(64, 1 / 64, np.float32),
    second_moment=np.eye(64, dtype=np.float32) / 64,
)
every_format = pytest.mark.parametrize("module", FORMATS.values(), ids=FORMATS)


def weights(columns: int, size: float = 1e4) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, 5).flatmap(
        lambda rows: hnp.arrays(
            np.float32, (rows, columns), elements=st.floats(-size, size, width=32)
        )
    )


@every_format
@given(data=st.data())
def test_codes_come_back_from_how_they_are_stored(module, data):
    scheme = module.SCHEME
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 70)))
    codes = data.draw(hnp.arrays(np.int8, shape, elements=st.integers(scheme.low, scheme.high)))
    back = module.unpack(module.pack(codes), shape[1])
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, codes)
    assert module.pack(codes).nbytes * 8 < scheme.bits * codes.size + 32 * len(codes)


@every_format
@pytest.mark.parametrize("name", solvers())
@given(data=st.data())
def test_every_solver_gives_what_the_scheme_says(module, name, data):
    weight = data.draw(weights(64))
    if name == "entropy" and module.SCHEME.granularity == "group":
        with pytest.raises(ValueError, match="per channel or tensor"):
            solver(name).solve(weight, module.SCHEME)
        return
    tensor = solver(name).solve(weight, module.SCHEME, INPUTS)
    assert (tensor.codes.dtype, tensor.scales.dtype) == (np.int8, np.float32)
    assert tensor.shape == weight.shape
    assert tensor.scales.shape == module.SCHEME.scale_shape(*weight.shape)
    assert tensor.codes.min() >= module.SCHEME.low
    assert tensor.codes.max() <= module.SCHEME.high
    assert tensor.scales.all()


@every_format
@given(data=st.data())
def test_over_the_whole_range_every_weight_is_within_a_step(module, data):
    """Half a step from rounding, half from the code that one end of the range lacks."""
    weight = data.draw(weights(64))
    tensor = absmax.solve(weight, replace(module.SCHEME, scale_type="float32"))
    groups = tensor.scales.shape[1]
    error = in_groups(np.abs(dequantize(tensor) - weight), groups).max(axis=2)
    assert (error <= 1.001 * np.abs(tensor.scales)).all()


@every_format
@given(data=st.data())
def test_what_lies_on_the_grid_comes_back_as_it_was(module, data):
    scheme = module.SCHEME
    codes = data.draw(hnp.arrays(np.int8, (3, 64), elements=st.integers(scheme.low, scheme.high)))
    scales = np.full(scheme.scale_shape(3, 64), 0.25, np.float32)
    again = quantize(codes.astype(np.float32) * np.float32(0.25), scales, scheme)
    np.testing.assert_array_equal(again.codes, codes)
