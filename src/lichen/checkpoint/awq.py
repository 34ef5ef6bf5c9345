"""AWQ folders in AutoAWQ's version "gemm", which transformers and GPTQModel write too.

A layer is stored as `lichen.checkpoint.word_layers` says, with ``qweight`` int32 [in, out / 8] and
``qzeros`` int32 [groups, out / 8], both along the outputs: a word holds eight of 4 bits, those of
even outputs first.  Zero points are stored as they are (casper-hansen/AutoAWQ,
modules/linear/gemm.py).  The other versions lie otherwise, each for a kernel of its own, and are
refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lichen.checkpoint.protocol import Checkpoint
from lichen.checkpoint.word_layers import (
    WordFolder,
    WordLayer,
    argument_faults,
    quantized_layers,
)
from lichen.errors import InputError
from lichen.row_blocks import map_row_blocks
from lichen.schemes import GROUP_SIZES
from lichen.tensor import QuantizedTensor

_BITS = 4
_PER_WORD = 32 // _BITS
#: Of a word's eight outputs, those that its places belong to, lowest bits first.
_OUTPUTS = (0, 2, 4, 6, 1, 3, 5, 7)
_GEMM = "gemm"

_ALLOWED = {
    "bits": (_BITS,),
    "group_size": (-1, *GROUP_SIZES),
    "version": (_GEMM,),
    "zero_point": (True, False),
    "desc_act": (False,),
    "pack_dtype": ("int32",),
}
#: What AutoAWQ's own ``quant_config.json`` calls them, and GPTQModel.
_OTHER_NAMES = {
    "w_bit": "bits",
    "q_group_size": "group_size",
    "checkpoint_format": "version",
    "format": "version",
}
#: What absent arguments mean to AutoAWQ and transformers.
_DEFAULTS = {
    "bits": _BITS,
    "group_size": 128,
    "version": _GEMM,
    "zero_point": True,
    "desc_act": False,
    "pack_dtype": "int32",
}


def open_awq(base: Checkpoint) -> WordFolder:
    """The folder that ``base`` reads as it is stored; InputError for what lichen cannot run."""
    try:
        given = parse_awq(base.config["quantization_config"])
    except InputError as error:
        raise InputError(f"{base.path}: {error}") from None
    size = None if given["group_size"] == -1 else given["group_size"]
    symmetric = not given["zero_point"]
    layers = [
        AwqLayer(base, name, _BITS, size, symmetric=symmetric) for name in quantized_layers(base)
    ]
    return WordFolder(base, layers, "AWQ")


def parse_awq(quantization: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a config by their usual names; InputError names every fault."""
    given, faults = dict[str, Any](), []
    for key, value in quantization.items():
        usual = _OTHER_NAMES.get(key, key)
        known = value.lower() if usual == "version" and isinstance(value, str) else value
        if known is not None and given.setdefault(usual, known) != known:
            faults.append(f"{key} {value!r} contradicts {usual} {given[usual]!r}")
    given = _DEFAULTS | given
    faults += argument_faults(given, _ALLOWED)
    if given.get("backend") == "llm-awq":
        faults.append("backend 'llm-awq' fills its words otherwise")
    if faults:
        raise InputError(f"the AWQ config cannot be used: {'; '.join(faults)}.")
    return given


class AwqLayer(WordLayer):
    """One layer."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs, inputs."""
        columns, words = self.source.shape(self.part("qweight"))
        return words * _PER_WORD, columns

    def _size_faults(self) -> Iterator[str]:
        columns = self.shape[1]
        if columns % self.group_size:
            yield f"{self.name} has {columns} inputs, which groups of {self.group_size} do not fill"
        else:
            yield from super()._size_faults()

    def read(self) -> QuantizedTensor:
        """The weight."""
        codes, zeros = self._by_output("qweight"), self._by_output("qzeros")
        return self.quantized(codes, self.scales(), zeros.T)

    def _by_output(self, part: str) -> npt.NDArray[np.int8]:
        """Codes or zero points [out, in or groups], from the middle of their range on."""
        words = self.words(part).T
        numbers = np.empty((len(words), _PER_WORD, words.shape[1]), np.int8)

        def fill(rows: slice) -> None:
            block = np.ascontiguousarray(words[rows])
            for place, output in enumerate(_OUTPUTS):
                numbers[rows, output] = (block >> _BITS * place & 15) - 8

        map_row_blocks(fill, words.shape)
        return numbers.reshape(-1, words.shape[1])
