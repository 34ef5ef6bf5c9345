"""Large arrays whose memory is used again, where many of the same sizes follow one another.

The system gives a new array zeroed pages, and zeroing them takes long where a virtual machine has
to find the memory first: a third of the processor time of quantizing a model to 8 bits.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

#: Bytes of arrays that are not too large to be kept.
_LARGEST = 1 << 30

#: An array may have memory of up to so many times its size.
_ROOM = 2

Memory = npt.NDArray[np.uint8]

_lock = threading.Lock()
_kept: list[Memory] | None = None
_smallest = 0


@contextlib.contextmanager
def reusing(smallest: int = 1 << 20) -> Iterator[None]:
    """Inside, memory of arrays from `empty` is kept for the next ones when nobody holds it.

    Arrays of fewer bytes than ``smallest`` are not worth it.
    """
    global _kept, _smallest
    with _lock:
        outermost = _kept is None
        if outermost:
            _kept, _smallest = [], smallest
    try:
        yield
    finally:
        if outermost:
            with _lock:
                _kept = None


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """Inside `reusing`: memory is new, and not kept, for arrays that none as large will follow."""
    global _kept
    with _lock:
        kept, _kept = _kept, None
    try:
        yield
    finally:
        with _lock:
            _kept = kept


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """As ``numpy.empty``."""
    kind = np.dtype(dtype)
    size = kind.itemsize * math.prod(shape if isinstance(shape, tuple) else (shape,))
    with _lock:
        if _kept is None or not _smallest <= size <= _LARGEST:
            return np.empty(shape, kind)
        memory = _take(_kept, size)
        return memory[:size].view(kind).reshape(shape)


def _take(kept: list[Memory], size: int) -> Memory:
    """The smallest memory that is free and large enough, or new one."""
    free = [i for i in range(len(kept)) if _references(kept, i) == _FREE]
    fitting = [i for i in free if size <= kept[i].nbytes <= _ROOM * size]
    if fitting:
        return kept[min(fitting, key=lambda i: kept[i].nbytes)]
    kept.append(np.empty(size, np.uint8))
    return kept[-1]


def _references(kept: list[Memory], i: int) -> int:
    """Who holds memory: every view of an array holds the array that owns the memory, no other."""
    return sys.getrefcount(kept[i])


_FREE = _references([np.empty(0, np.uint8)], 0)
