"""GPTQ folders, as AutoGPTQ, GPTQModel, AutoRound and transformers write them.

A layer of b bits is stored as `lichen.checkpoint.word_layers` says, with

- ``qweight`` int32 [in * b / 32, out]: the codes of an output one after the other down its column,
  without a gap, so that one of 3 bits may lie across two words;
- ``qzeros`` int32 [groups, out * b / 32]: zero points along the outputs, packed the same way, less
  one in format "gptq" and as they are in "gptq_v2";
- ``g_idx`` int32 [in], where it is there: the group of each input.

With activation order the groups are not runs of columns, which the engine's kernels need; such a
weight is handed out in floats.  Facts about the writers were found in the sources of AutoGPTQ 0.7
and GPTQModel 5 (utils/model.py, nn_modules/qlinear).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
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
from lichen.schemes.packing import Words, unpack
from lichen.tensor import FloatArray, QuantizedTensor

_V1, _V2 = "gptq", "gptq_v2"

_ALLOWED = {
    "bits": (2, 3, 4, 8),
    "group_size": (-1, *GROUP_SIZES),
    "sym": (True, False),
    "checkpoint_format": (_V1, _V2),
    "format": (_V1, _V2),
    "pack_dtype": ("int32",),
}


@dataclass(frozen=True)
class GptqFormat:
    """What the config says of all layers; ``less_one``: the zero points are stored so."""

    bits: int
    group_size: int | None
    symmetric: bool
    less_one: bool


def open_gptq(base: Checkpoint) -> WordFolder:
    """The folder that ``base`` reads as it is stored; InputError for what lichen cannot run."""
    try:
        chosen = parse_gptq(base.config["quantization_config"])
    except InputError as error:
        raise InputError(f"{base.path}: {error}") from None
    layers = [GptqLayer(base, name, chosen) for name in quantized_layers(base)]
    return WordFolder(base, layers, "GPTQ")


def parse_gptq(quantization: Mapping[str, Any]) -> GptqFormat:
    """Read a ``quantization_config`` or ``quantize_config.json``; InputError names every fault."""
    given = {"sym": True, "pack_dtype": "int32", "dynamic": {}, **quantization}
    # One name is AutoGPTQ's, the other GPTQModel's; before there were two formats there was v1.
    known = given.get("checkpoint_format") or given.get("format") or _V1
    for key in ("checkpoint_format", "format"):
        given[key] = given.get(key) or known
    dynamic = given.pop("dynamic")
    faults = [*argument_faults(given, _ALLOWED), *_dynamic_faults(dynamic)]
    if given["checkpoint_format"] != given["format"]:
        faults.append("checkpoint_format and format contradict each other")
    if faults:
        raise InputError(f"the GPTQ config cannot be used: {'; '.join(faults)}.")
    size = None if given["group_size"] == -1 else given["group_size"]
    return GptqFormat(given["bits"], size, given["sym"], given["format"] == _V1)


def _dynamic_faults(dynamic: Any) -> Iterator[str]:
    """Patterns with "-:" say which layers are plain, which is seen; others give formats."""
    patterns = [] if not dynamic else list(dynamic) if isinstance(dynamic, dict) else [dynamic]
    own = [pattern for pattern in patterns if not str(pattern).startswith("-:")]
    if own:
        yield f"dynamic gives layers like {own[0]!r} a format of their own, which is not supported"


class GptqLayer(WordLayer):
    """One layer; in floats where its groups are not runs of columns."""

    def __init__(self, source: Checkpoint, name: str, chosen: GptqFormat) -> None:
        super().__init__(source, name, chosen.bits, chosen.group_size, symmetric=chosen.symmetric)
        self._less_one = chosen.less_one

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs, inputs."""
        words, rows = self.source.shape(self.part("qweight"))
        return rows, words * 32 // self.bits

    @property
    def dtype(self) -> str:
        """By its bits; of floats, float16 where scales are, which is what others compute in."""
        if self._runs is not None:
            return super().dtype
        return "F16" if self.source.dtype(self.part("scales")) == "F16" else "F32"

    def __str__(self) -> str:
        if self._runs is not None:
            return super().__str__()
        return f"int{self.bits} weights in activation order, dequantized"

    def _size_faults(self) -> Iterator[str]:
        name = self.part("qweight")
        words = self.source.shape(name)[0]
        if words * 32 % self.bits:
            yield f"{name} has {words} rows, which codes of {self.bits} bits do not fill"
            return
        yield from super()._size_faults()
        if not self._has_order:
            return
        found = list(self.fault("g_idx", ("I32", "I64"), (self.shape[1],)))
        yield from found
        if not found and not (self._groups.min() >= 0 and self._groups.max() < self.groups):
            yield f"{self.part('g_idx')} names groups that are not among the {self.groups}"

    def read(self) -> FloatArray | QuantizedTensor:
        """The weight."""
        rows, columns = self.shape
        codes = unpack(self.words("qweight").T, self.bits, columns)
        scales, zeros = self.scales(), self._zeros(rows)
        if self._runs is not None:
            return self.quantized(codes, scales[self._runs], zeros[self._runs])
        return self._in_floats(codes, scales, zeros)

    def _zeros(self, rows: int) -> npt.NDArray[np.int8]:
        """Zero points [groups, out], counted from the middle of the range as codes are."""
        words = self.words("qzeros")
        stored = unpack(words, self.bits, rows)
        # Some write "gptq" and then zero points as in "gptq_v2" (vllm-project/vllm#38966); a
        # symmetric weight has them in the middle, which is where these are.
        if not self._less_one or (self.symmetric and not stored.any()):
            return stored
        return _one_more(words, self.bits, rows)

    def _in_floats(
        self,
        codes: npt.NDArray[np.int8],
        scales: npt.NDArray[np.float32],
        zeros: npt.NDArray[np.int8],
    ) -> FloatArray:
        """The weight [out, in], each column with the scale of its own group, rounded once."""
        floats = np.empty(codes.shape, np.float16 if self.dtype == "F16" else np.float32)

        def fill(rows: slice) -> None:
            block = codes[rows].astype(np.float32)
            block -= zeros[:, rows][self._groups].T
            block *= scales[:, rows][self._groups].T
            with np.errstate(over="ignore"):
                floats[rows] = block

        map_row_blocks(fill, codes.shape)
        if not np.isfinite(floats).all():
            raise InputError(
                f"{self.source.path}: {self.name}.weight has values that float16 does not hold."
            )
        return floats

    @property
    def _has_order(self) -> bool:
        return self.part("g_idx") in self.source.names()

    @cached_property
    def _groups(self) -> npt.NDArray[np.int64]:
        """The group of each column."""
        if self._has_order:
            return self.words("g_idx").astype(np.int64)
        return np.arange(self.shape[1]) // self.group_size

    @cached_property
    def _runs(self) -> npt.NDArray[np.int64] | None:
        """The group of each run of columns; None where a run has columns of several."""
        if self.shape[1] % self.group_size:
            return None
        runs = self._groups.reshape(-1, self.group_size)
        return runs[:, 0] if (runs == runs[:, :1]).all() else None


def _one_more(stored: Words, bits: int, rows: int) -> npt.NDArray[np.int8]:
    """Zero points [groups, out] that are stored less one.

    A zero point of 0 is stored as all ones.  GPTQModel, the one writer of such, subtracts in whole
    words, so that one is borrowed from the zero point above, and adds in whole words, which gives
    it back; it is the same here.  Those of 3 bits it takes apart before.
    """
    if 32 % bits == 0:
        ones = np.uint32(sum(1 << place for place in range(0, 32, bits)))
        return unpack((stored.view(np.uint32) + ones).view(np.int32), bits, rows)
    zeros = unpack(stored, bits, rows)
    highest = np.int8((1 << (bits - 1)) - 1)
    return np.where(zeros == highest, ~highest, zeros + np.int8(1)).astype(np.int8)
