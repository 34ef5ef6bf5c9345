"""Large arrays in blocks of rows: temporaries stay in cache, and several threads share the work."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

#: Elements that one pass of blocked arithmetic works on: 512 KiB of float32, which stays in cache.
BLOCK_ELEMENTS = 1 << 17

#: NumPy lets other threads run; beyond a few of them memory is what everyone waits for.
_THREADS = min(4, os.cpu_count() or 1)

T = TypeVar("T")


def map_row_blocks(
    function: Callable[[slice], T], shape: tuple[int, ...], elements: int = BLOCK_ELEMENTS
) -> list[T]:
    """``function`` of every block of rows of an array, on several threads, results in order."""
    blocks = list(row_blocks(shape, elements))
    if len(blocks) == 1:
        return [function(blocks[0])]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, blocks))


def row_blocks(shape: tuple[int, ...], elements: int = BLOCK_ELEMENTS) -> Iterator[slice]:
    """Runs of whole rows of about so many elements, so that temporaries stay small."""
    rows = shape[0]
    step = max(1, elements // max(1, math.prod(shape[1:])))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
