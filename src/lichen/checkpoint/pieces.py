"""Some rows of a weight in floats, read from its file where it is still there."""

from __future__ import annotations

import numpy as np

from lichen._core import FileRows, ReadError
from lichen.checkpoint.gguf_blocks import BLOCK_TYPES
from lichen.errors import InputError
from lichen.reuse import empty
from lichen.schemes import FLOATS
from lichen.tensor import BlockTensor, FloatArray, StoredFloats

_TYPES = {block.kernel: block for block in BLOCK_TYPES.values()}

#: A matrix whose rows can be had one by one.
ByRows = FloatArray | StoredFloats | BlockTensor


def read_rows(tensor: ByRows, begin: int, end: int) -> FloatArray:
    """Rows [begin, end) as `Checkpoint.read` gives all of them; InputError where they are gone."""
    if isinstance(tensor, StoredFloats):
        floats = np.dtype(FLOATS[tensor.name])
        return _read(tensor.rows, begin, end, floats.itemsize).view(floats)
    if isinstance(tensor, BlockTensor):
        data, columns = tensor.data, tensor.shape[1]
        stored = _read(data, begin, end, 1) if isinstance(data, FileRows) else data[begin:end]
        return _TYPES[tensor.kind].decode(stored.reshape(-1), (end - begin, columns))
    return tensor[begin:end]


def _read(rows: FileRows, begin: int, end: int, item: int) -> FloatArray:
    """The bytes of rows, [end - begin, bytes]."""
    data: FloatArray = empty((end - begin, rows.columns * item), np.uint8)
    try:
        rows.read(begin, data.reshape(-1))
    except ReadError as error:
        raise InputError(f"{error}.") from None
    return data
