"""The randomized Hadamard transform: a rotation that spreads outliers evenly over all columns.

A weight and its input, rotated alike, have the same product, but no column of either stands out
any more, so their scales are smaller (QuIP#, arXiv 2402.04396; QuaRot, arXiv 2404.00456).  The
matrix is ``diag(signs) (C_m (x) H)`` for vectors of m 2^k numbers, m odd: H is Hadamard's matrix of
side 2^k, and C_m Hartley's, ``(cos + sin)(2 pi i j / m) / sqrt(m)``, so that any length will do.
"""

from __future__ import annotations

import hashlib

import numpy as np

from lichen import _core
from lichen.solvers import native
from lichen.solvers.native import Float32


def rotate(x: Float32, axis: int, block: int) -> None:
    """Rotate each ``block`` of neighbours along ``axis`` (0 or 1) of ``x`` [rows, columns].

    In place; along axis 1 row vectors v become v R, along axis 0 columns c become R^T c.  The same
    bits with any number of threads.  ValueError where blocks do not divide the axis, or ``x`` is
    not contiguous.
    """
    if x.shape[axis] % block or not x.flags.c_contiguous:
        raise ValueError(f"x {list(x.shape)} must be contiguous, in whole blocks of {block}")
    vectors = x.reshape(-1, block, x.shape[1] if axis == 0 else 1)
    _core.rotate(native.pool(x.size), vectors, signs(block))


def signs(length: int) -> Float32:
    """The signs that go before the transform, the same on every machine, float32 [length]."""
    drawn = hashlib.shake_256(b"lichen").digest(-(-length // 8))
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8), count=length)
    return (1 - 2 * bits.astype(np.float32)).astype(np.float32)
