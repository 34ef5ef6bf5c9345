"""Folders quantized in the compressed-tensors format, which vLLM and transformers read and write.

A quantized layer ``X`` is stored as ``X.weight`` int8 [out, in] and ``X.weight_scale`` [out, 1]
(format "int-quantized"), or as ``X.weight_packed`` int32 [out, in / 8], ``X.weight_scale``
[out, groups], ``X.weight_shape`` int64 [2] and, with zero points, ``X.weight_zero_point`` int32
[out / 8, groups] ("pack-quantized"), either with ``X.input_scale`` [1] where inputs have a static
scale.  `quantization_config` says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen.checkpoint.protocol import Checkpoint
from lichen.checkpoint.quantization_config import FORMATS, LayerFormat, parse_config
from lichen.errors import InputError
from lichen.schemes import FloatType, Scheme, int4
from lichen.tensor import FloatArray, QuantizedTensor

#: What stands beside a quantized weight.
_PARTS = ("weight_scale", "weight_zero_point", "weight_shape", "input_scale", "input_zero_point")

_FLOATS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_FLOAT_TYPES: dict[str, FloatType] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def stored(layer: str, tensor: QuantizedTensor) -> dict[str, npt.NDArray[Any]]:
    """The tensors that a quantized layer is written as."""
    parts: dict[str, npt.NDArray[Any]] = {}
    if FORMATS[tensor.scheme.bits] == "int-quantized":
        parts["weight"] = tensor.codes
    else:
        parts["weight_packed"] = int4.pack(tensor.codes)
        parts["weight_shape"] = np.array(tensor.shape, np.int64)
    parts["weight_scale"] = tensor.scales.astype(_FLOATS[tensor.scheme.scale_type])
    if tensor.zeros is not None:
        parts["weight_zero_point"] = np.ascontiguousarray(int4.pack(tensor.zeros.T).T)
    if tensor.input_scale is not None:
        parts["input_scale"] = np.array([tensor.input_scale], np.float32)
    return {f"{layer}.{part}": array for part, array in parts.items()}


# --- reading the tensors ---------------------------------------------------------------------


class CompressedTensors:
    """A compressed-tensors folder as a `Checkpoint` whose quantized weights read as such.

    ``base`` reads the folder's tensors as they are stored.  InputError names every reason why
    lichen cannot run the folder's formats, or every tensor that is not stored as its config says.
    """

    def __init__(self, base: Checkpoint) -> None:
        self._base = base
        try:
            self._groups = parse_config(base.config["quantization_config"])
        except InputError as error:
            raise InputError(f"{base.path}: {error}") from None
        self._everything = set(base.names())
        self._formats: dict[str, LayerFormat] = {}
        faults: list[str] = []
        for name in base.names():
            if name.endswith((".weight", ".weight_packed")) and self._scale(name):
                faults += self._add(name)
            elif base.dtype(name) == "I8" and not name.endswith("_zero_point"):
                faults.append(f"{name} is int8 but has no {name}_scale")
            elif name.endswith(".weight_packed"):
                faults.append(f"{name} has no {name.removesuffix('_packed')}_scale")
        if faults:
            raise InputError(f"{base.path}: {'; '.join(faults)}.")
        layers = [weight.removesuffix(".weight") for weight in self._formats]
        parts = {f"{layer}.{part}" for layer in layers for part in _PARTS}
        stored = (name for name in base.names() if name not in parts)
        self._names = tuple(name.removesuffix("_packed") for name in stored)

    def _scale(self, stored: str) -> str | None:
        """The name of a stored weight's scales, where there are any."""
        scale = f"{stored.removesuffix('_packed')}_scale"
        return scale if scale in self._everything else None

    def _add(self, stored: str) -> Iterator[str]:
        """Take a quantized weight in, or say what is wrong with it."""
        weight = stored.removesuffix("_packed")
        layer, scale = weight.removesuffix(".weight"), f"{weight}_scale"
        chosen = self._groups.find(layer)
        if chosen is None:
            yield f"{layer} has scales, but quantization_config does not quantize it"
            return
        if self._base.dtype(scale) not in _FLOAT_TYPES:
            yield f"{scale} is {self._base.dtype(scale)}, not {', '.join(_FLOAT_TYPES)}"
            return
        scheme = replace(chosen.weights, scale_type=_FLOAT_TYPES[self._base.dtype(scale)])
        self._formats[weight] = replace(chosen, weights=scheme)
        if (stored != weight) != (FORMATS[scheme.bits] == "pack-quantized"):
            yield f"{layer} is stored as {stored}, not in format {FORMATS[scheme.bits]!r}"
        elif stored == weight:
            yield from self._plain_faults(weight, scheme)
        else:
            yield from self._packed_faults(weight, scheme)
        if chosen.activations and not chosen.activations.dynamic:
            yield from self._input_faults(f"{layer}.input_scale")

    def _input_faults(self, scale: str) -> Iterator[str]:
        """The static scale of a layer's inputs is one number."""
        if scale not in self._everything:
            yield f"{scale} is missing"
        elif self._base.dtype(scale) not in _FLOAT_TYPES or self._base.shape(scale) not in (
            (1,),
            (),
        ):
            found = f"{self._base.dtype(scale)} {list(self._base.shape(scale))}"
            yield f"{scale} is {found}, not one float"

    def _plain_faults(self, weight: str, scheme: Scheme) -> Iterator[str]:
        if self._base.dtype(weight) != "I8":
            yield f"{weight} is {self._base.dtype(weight)}, not I8"
        shape, found = self._base.shape(weight), self._base.shape(f"{weight}_scale")
        rows = 1 if scheme.granularity == "tensor" else shape[0]
        if len(shape) != 2 or found not in ((rows, 1), (rows,), () if rows == 1 else None):
            yield f"{weight}_scale has shape {list(found)} for a weight {list(shape)}"

    def _packed_faults(self, weight: str, scheme: Scheme) -> Iterator[str]:
        """Words, scales and zero points have to be as large as the weight's shape says."""
        if f"{weight}_shape" not in self._everything or self._base.shape(f"{weight}_shape") != (2,):
            yield f"{weight}_shape, which says rows and columns, is missing or not two numbers"
            return
        rows, columns = self.shape(weight)
        size = scheme.group_size or columns
        if rows < 1 or columns < 1 or columns % size:
            yield f"{weight} is {rows} x {columns}, which groups of {size} columns do not fill"
            return
        expected = {
            "packed": ("I32", (rows, int4.packed_columns(columns))),
            "scale": (self._base.dtype(f"{weight}_scale"), (rows, columns // size)),
        }
        if not scheme.symmetric:
            expected["zero_point"] = ("I32", (int4.packed_columns(rows), columns // size))
        for part, (dtype, shape) in expected.items():
            name = f"{weight}_{part}"
            if name not in self._everything:
                yield f"{name} is missing"
            elif (self._base.dtype(name), self._base.shape(name)) != (dtype, shape):
                found = f"{self._base.dtype(name)} {list(self._base.shape(name))}"
                yield f"{name} is {found}, not {dtype} {list(shape)}, for {rows} x {columns}"

    @property
    def path(self) -> Path:
        """The folder."""
        return self._base.path

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        return self._base.config

    @property
    def size_bytes(self) -> int:
        """Bytes of the weight files."""
        return self._base.size_bytes

    @property
    def description(self) -> str:
        """The plain folder's description, with the formats of its weights."""
        formats = sorted({str(chosen) for chosen in self._formats.values()})
        return f"{self._base.description}, {' and '.join(formats)} (compressed-tensors)"

    def names(self) -> tuple[str, ...]:
        """Names of tensors; the scales of a layer are part of its weight."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; of a packed weight, when it is unpacked."""
        if not self._is_packed(name):
            return self._base.shape(name)
        rows, columns = self._plain(f"{name}_shape").tolist()
        return int(rows), int(columns)

    def dtype(self, name: str) -> str:
        """Stored element type; "I8" or "I4" for a quantized weight."""
        return "I4" if self._is_packed(name) else self._base.dtype(name)

    def digest(self) -> str:
        """SHA-256 over config, tokenizer and weights."""
        return self._base.digest()

    def tokenizer_files(self) -> Mapping[str, bytes]:
        """The folder's tokenizer files, as they are."""
        return self._base.tokenizer_files()

    def read(self, name: str) -> FloatArray | QuantizedTensor:
        """One tensor: floats as stored, or a quantized weight with its scales."""
        if name not in self._formats:
            return self._plain(name)
        chosen = self._formats[name]
        scales = self._plain(f"{name}_scale").astype(np.float32)
        if not np.isfinite(scales).all():
            raise InputError(f"{self._base.path}: {name}_scale has values that are not finite.")
        if self._is_packed(name):
            codes = int4.unpack(self._integers(f"{name}_packed"), self.shape(name)[1])
        else:
            codes, scales = self._integers(name), scales.reshape(-1, 1)
        zeros = self._zeros(name, chosen.weights)
        activations = chosen.activations
        static = activations is not None and not activations.dynamic
        scale = self._input_scale(name.removesuffix(".weight")) if static else None
        return QuantizedTensor(codes, scales, zeros, chosen.weights, activations, scale)

    def _input_scale(self, layer: str) -> float:
        scale = float(self._plain(f"{layer}.input_scale").astype(np.float32).reshape(()))
        if not 0 < scale < np.inf:
            raise InputError(f"{self._base.path}: {layer}.input_scale is {scale}, not positive.")
        shift = f"{layer}.input_zero_point"
        if shift in self._everything and self._plain(shift).any():
            raise InputError(f"{self._base.path}: {shift} is not zero in a symmetric format.")
        return scale

    def read_exact(self, name: str) -> FloatArray | QuantizedTensor:
        """As `read`."""
        return self.read(name)

    def _is_packed(self, name: str) -> bool:
        return name in self._formats and f"{name}_packed" in self._everything

    def _zeros(self, name: str, scheme: Scheme) -> npt.NDArray[np.int8] | None:
        """Zero points [out, groups]; none, or stored zeros, in a symmetric format."""
        stored = f"{name}_zero_point"
        if not scheme.symmetric:
            unpacked = int4.unpack(self._integers(stored).T, self.shape(name)[0])
            return np.ascontiguousarray(unpacked.T)
        if stored in self._everything and self._plain(stored).any():
            raise InputError(f"{self._base.path}: {stored} is not zero in a symmetric format.")
        return None

    def _integers(self, name: str) -> npt.NDArray[Any]:
        return cast("npt.NDArray[Any]", self._base.read(name))

    def _plain(self, name: str) -> FloatArray:
        return cast(FloatArray, self._base.read(name))  # the base joins nothing
