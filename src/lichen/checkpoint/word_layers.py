"""What GPTQ and AWQ folders have in common: layers as int32 words with scales and zero points.

A quantized layer ``X`` is stored as ``X.qweight`` (words of codes), ``X.qzeros`` (words of zero
points) and ``X.scales`` (floats [groups, out]), where ``w = (code - zero) * scale``.  Here it is
one weight, ``X.weight``.  How the words are filled is what the two differ in.  Which layers are
quantized is told by what is stored; all others are plain.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from lichen.checkpoint.protocol import FLOAT_TYPES, Checkpoint
from lichen.checkpoint.quantization_config import LayerFormat
from lichen.checkpoint.quantized_folder import QuantizedFolder
from lichen.errors import InputError
from lichen.schemes import Scheme
from lichen.schemes.packing import Words, packed_columns
from lichen.tensor import FloatArray, Quantized, QuantizedTensor

#: What stands for one weight; the last only in GPTQ.
_PARTS = ("qweight", "qzeros", "scales", "g_idx")

#: How many faults one message names.
_NAMED_FAULTS = 3


class WordLayer(ABC):
    """One quantized layer; only `faults` may be asked before it is known that there are none.

    group_size  columns that share a scale; None for all of a row
    symmetric   what the config says; zero points that are stored are read all the same
    """

    def __init__(
        self, source: Checkpoint, name: str, bits: int, group_size: int | None, *, symmetric: bool
    ) -> None:
        self.source = source
        self.name = name
        self.bits = bits
        self.symmetric = symmetric
        self._group_size = group_size

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Outputs, inputs, by the shape of the words."""

    @abstractmethod
    def read(self) -> FloatArray | QuantizedTensor:
        """The weight."""

    @property
    def dtype(self) -> str:
        """By its bits, such as "I4"; or that of the floats that `read` gives."""
        return f"I{self.bits}"

    def __str__(self) -> str:
        return str(LayerFormat(self.scheme(self.symmetric), None))

    @property
    def group_size(self) -> int:
        """Columns that share a scale; those of a row at most."""
        columns = self.shape[1]
        return min(self._group_size or columns, columns)

    @property
    def groups(self) -> int:
        """Scales of a row."""
        return math.ceil(self.shape[1] / self.group_size)

    def scheme(self, symmetric: bool) -> Scheme:
        """The number format, where groups are runs of columns."""
        scale_type = FLOAT_TYPES[self.source.dtype(self.part("scales"))]
        if self.groups == 1:
            return Scheme(self.bits, symmetric, "channel", None, scale_type)
        return Scheme(self.bits, symmetric, "group", self.group_size, scale_type)

    def faults(self) -> Iterator[str]:
        """What is missing, or not as large as the words of the weight say."""
        present = set(self.source.names())
        if f"{self.name}.weight" in present:
            yield f"{self.name} is stored twice, as weight and as qweight"
        missing = [part for part in _PARTS[:3] if self.part(part) not in present]
        yield from (f"{self.part(part)} is missing" for part in missing)
        if missing:
            return
        words = self.source.shape(self.part("qweight"))
        if len(words) != 2 or 0 in words:
            yield f"{self.part('qweight')} has shape {list(words)}, not rows and columns"
        else:
            yield from self._size_faults()

    def _size_faults(self) -> Iterator[str]:
        rows, _ = self.shape
        zero_points = self.groups, packed_columns(rows, self.bits)
        yield from self.fault("qweight", ("I32",), self.source.shape(self.part("qweight")))
        yield from self.fault("qzeros", ("I32",), zero_points)
        yield from self.fault("scales", tuple(FLOAT_TYPES), (self.groups, rows))

    def fault(self, part: str, dtypes: Sequence[str], shape: tuple[int, ...]) -> Iterator[str]:
        """A tensor that has another type or shape than it must have."""
        name = self.part(part)
        dtype, found = self.source.dtype(name), self.source.shape(name)
        if dtype not in dtypes or found != shape:
            rows, columns = self.shape
            yield (
                f"{name} is {dtype} {list(found)}, not {' or '.join(dtypes)} {list(shape)},"
                f" for {rows} x {columns} in groups of {self.group_size}"
            )

    def part(self, part: str) -> str:
        """Name of one of the tensors that make the layer."""
        return f"{self.name}.{part}"

    def words(self, part: str) -> Words:
        """A tensor of int32."""
        return cast(Words, self.source.read(self.part(part)))

    def scales(self) -> npt.NDArray[np.float32]:
        """Scales [groups, out], which are finite."""
        scales = cast(FloatArray, self.source.read(self.part("scales"))).astype(np.float32)
        if not np.isfinite(scales).all():
            raise InputError(
                f"{self.source.path}: {self.part('scales')} has values that are not finite."
            )
        return scales

    def quantized(
        self,
        codes: npt.NDArray[np.int8],
        scales: npt.NDArray[np.float32],
        zeros: npt.NDArray[np.int8],
    ) -> QuantizedTensor:
        """The weight of codes [out, in], with scales and zero points [groups, out].

        Zero points that all are 0, the middle of the range, make a symmetric weight.
        """
        points = np.ascontiguousarray(zeros.T) if zeros.any() else None
        scheme = self.scheme(symmetric=points is None)
        return QuantizedTensor(codes, np.ascontiguousarray(scales.T), points, scheme)


class WordFolder(QuantizedFolder):
    """A folder of such layers; InputError names those that are not stored as they should be."""

    def __init__(self, base: Checkpoint, layers: Iterable[WordLayer], method: str) -> None:
        super().__init__(base)
        self.method = method
        self._layers = {f"{layer.name}.weight": layer for layer in layers}
        faults = [fault for layer in self._layers.values() for fault in layer.faults()]
        if not self._layers:
            faults = [f"quantization_config says {method}, but no layer has a qweight"]
        if faults:
            raise InputError(f"{base.path}: {_in_short(faults)}.")
        made_of = {layer.part(part) for layer in self._layers.values() for part in _PARTS[1:]}
        kept = (name for name in base.names() if name not in made_of)
        self._names = tuple(_weight_of(name) for name in kept)

    def _formats_in_words(self) -> Iterator[str]:
        return map(str, self._layers.values())

    def names(self) -> tuple[str, ...]:
        """Names of tensors; the parts of a quantized layer are one weight."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; of a quantized weight, outputs and inputs."""
        return self._layers[name].shape if name in self._layers else self._base.shape(name)

    def dtype(self, name: str) -> str:
        """Stored element type; "I4" ... for a quantized weight, or what it is dequantized to."""
        return self._layers[name].dtype if name in self._layers else self._base.dtype(name)

    def read(self, name: str) -> FloatArray | Quantized:
        """One tensor: floats as stored, or a quantized weight with its scales."""
        return self._layers[name].read() if name in self._layers else self._base.read(name)


def quantized_layers(source: Checkpoint) -> list[str]:
    """Names of the layers that are stored as words."""
    return [n.removesuffix(".qweight") for n in source.names() if n.endswith(".qweight")]


def _weight_of(stored: str) -> str:
    return stored.removesuffix("qweight") + "weight" if stored.endswith(".qweight") else stored


def _in_short(faults: Sequence[str]) -> str:
    """The first of many faults in words, and how many more there are."""
    more = f"; and {len(faults) - _NAMED_FAULTS} more" if len(faults) > _NAMED_FAULTS else ""
    return "; ".join(faults[:_NAMED_FAULTS]) + more


# --- the config ------------------------------------------------------------------------------

#: Arguments of how codes were found, how another program runs them, and what is told by what is
#: stored (which layers are quantized, in which order); of AutoGPTQ, GPTQModel, AutoAWQ, AutoRound
#: and transformers.
# fmt: off
_INERT = frozenset({
    "act_group_aware", "amp", "autoround_version", "backend", "batch_size",
    "block_name_to_quantize", "cache_block_outputs", "damp_auto_increment", "damp_percent",
    "dataset", "desc_act", "disable_exllama", "do_fuse", "enable_minmax_tuning",
    "enable_quanted_input", "exllama_config", "fuse_max_seq_len", "gradient_accumulate_steps",
    "iters", "lm_head", "low_gpu_mem_usage", "lr", "max_input_length", "meta", "method",
    "minmax_lr", "model_file_base_name", "model_name_or_path", "model_seqlen",
    "module_name_preceding_first_block", "modules_in_block_to_quantize", "modules_to_fuse",
    "modules_to_not_convert", "mse", "nsamples", "pad_token_id", "parallel_packing", "provider",
    "quant_method", "seqlen", "static_groups", "sym", "to_quant_block_names", "tokenizer",
    "true_sequential", "use_cuda_fp16", "use_exllama", "use_exllama_v2",
})
# fmt: on


def argument_faults(
    given: Mapping[str, Any], allowed: Mapping[str, Sequence[Any]]
) -> Iterator[str]:
    """Arguments that lichen does not read, and unknown ones, where they are not switched off."""
    for key, values in allowed.items():
        value = given.get(key)
        if not any(type(value) is type(one) and value == one for one in values):
            yield f"{key} is {value!r} (lichen reads {' or '.join(map(repr, values))})"
    for key in sorted(given.keys() - allowed.keys() - _INERT):
        if given[key]:
            yield f"{key} {given[key]!r} is not supported"
