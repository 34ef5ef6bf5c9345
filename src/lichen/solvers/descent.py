"""Codes that are there already are changed one by one where that lowers the error of the products.

Cyclic coordinate descent (Behdin et al. 2023, arXiv 2309.01885, "QuantEase", section 3): with all
others as they are, ``tr((W - Q) H (W - Q)^T)`` is least in column k at ``q_k + (E H)_k / H_kk``,
E = W - Q, and the code nearest to that is taken.  Rounding with feedback cannot do this: it never
comes back to a column.  Before the columns of a group, its scale is set to the one of least error
for the codes that it has: with p these codes, ``scale + p (E H)^T / p H p^T``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lichen import _core
from lichen.schemes import dequantize
from lichen.solvers import native
from lichen.solvers.moment import Moment, along
from lichen.solvers.native import Float32, Float64
from lichen.tensor import QuantizedTensor


def descend(
    weight: Float32, tensor: QuantizedTensor, moment: Moment, ridge: float, sweeps: int
) -> tuple[QuantizedTensor, Float64]:
    """``tensor`` after so many sweeps over all columns, and what each row then costs.

    H is ``moment`` with ``ridge`` on its diagonal; a row's cost is without that.  Scales
    of groups change, those of rows and of the whole weight stay.
    """
    scheme, pool = tensor.scheme, native.pool(weight.size)
    parts = (len(weight), tensor.scales.shape[1])
    scales, zeros = (np.tile(x, (parts[0] // len(x), 1)) for x in native.floats(tensor))
    codes, fitted = tensor.codes.copy(), scheme.granularity == "group"
    pull = _pull(weight - dequantize(tensor), moment, ridge)
    for _ in range(sweeps):
        _core.descend(
            pool,
            pull,
            moment,
            ridge,
            fitted,
            scheme.bits,
            scheme.symmetric,
            scheme.scale_type,
            scales,
            zeros,
            codes,
        )
    made = replace(tensor, codes=codes, scales=scales if fitted else tensor.scales)
    errors = weight - dequantize(made)
    undamped = np.einsum("rk,rk->r", pull, errors, dtype=np.float64)
    return made, undamped - ridge * np.einsum("rk,rk->r", errors, errors, dtype=np.float64)


def _pull(errors: Float32, moment: Moment, ridge: float) -> Float32:
    pull = np.empty_like(errors)
    for columns, h in along(moment):
        pull[:, columns] = native.multiply(errors[:, columns], h)
    errors *= np.float32(ridge)
    pull += errors
    return pull
