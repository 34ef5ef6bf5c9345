"""The whole range: the outermost weights of a row or group decide its scale."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen.schemes import FLOATS, Scheme
from lichen.solvers import native
from lichen.solvers.statistics import InputStatistics
from lichen.tensor import FloatArray, QuantizedTensor

Float32 = npt.NDArray[np.float32]

OPTIONS: dict[str, bool | int | float | str] = {}
NEEDS: frozenset[str] = frozenset()


def solve(
    weight: FloatArray, scheme: Scheme, inputs: InputStatistics | None = None
) -> QuantizedTensor:
    """Quantize ``weight`` [out, in] as compressed-tensors does (calculate_qparams).

    Symmetric: ``scale = absmax / half the range of codes``.  With zero points the range runs from
    the least to the greatest weight, zero always among them.  Scales are rounded to
    ``scheme.scale_type`` first and codes chosen for the rounded ones, so that every reader computes
    with the scales that the codes were made for.  Where all weights are zero the scale is the
    type's machine epsilon.  ValueError for weights that are not finite.
    """
    return between(weight, *native.extremes(weight, scheme), scheme)


def between(weight: FloatArray, low: Float32, high: Float32, scheme: Scheme) -> QuantizedTensor:
    """Lay the range of codes over ``low`` to ``high`` [out, groups]; weights beyond are cut."""
    if scheme.symmetric:
        largest: Float32 = np.maximum(-low, high)
        scales = stored_scales(largest / np.float32(scheme.half_range), scheme)
        return native.round_to(weight, scales, scheme)
    scales = stored_scales((high - low) / np.float32(2 * scheme.half_range), scheme)
    zeros = np.clip(np.rint(scheme.low - low / scales), scheme.low, scheme.high).astype(np.int8)
    return native.round_to(weight, scales, scheme, zeros)


def scale_limits(scheme: Scheme) -> Any:
    """What NumPy tells of the float type that scales are stored in (``finfo``)."""
    return ml_dtypes.finfo(FLOATS[scheme.scale_type])  # type: ignore[no-untyped-call]


def stored_scales(scales: Float32, scheme: Scheme) -> Float32:
    """Scales as they will be stored; never zero, for weights are divided by them.

    One of less than 128 times the type's smallest number is rounded up, for by nearest it might cut
    half a step off the largest weights; a float32 was rounded before it came here.
    """
    kind = FLOATS[scheme.scale_type]
    limits = scale_limits(scheme)
    with np.errstate(over="ignore"):
        rounded = scales.astype(kind).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError(f"weights are too large for scales in {scheme.scale_type}")
    step = np.copysign(np.float32(limits.smallest_subnormal), scales)
    coarse = (np.abs(scales) < np.abs(128 * step)) & (np.abs(rounded) <= np.abs(scales))
    rounded = np.where(coarse, rounded + step, rounded)
    return np.where(scales == 0, np.float32(limits.eps), rounded).astype(np.float32)
