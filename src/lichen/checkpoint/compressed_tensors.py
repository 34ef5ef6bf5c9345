"""Folders quantized in the compressed-tensors format; tests load them with transformers too.

A quantized layer ``X`` is stored as ``X.weight`` int8 [out, in] (format "int-quantized"), or as
``X.weight_packed`` int32 [out, words] and ``X.weight_shape`` int64 [2] ("pack-quantized", see
`lichen.schemes.packing`).  Beside it are ``X.weight_scale`` ([out, groups], [out, 1] or [1]), with
zero points ``X.weight_zero_point`` (int8 as the scales lie, or packed along the outputs, int32
[words, groups]), and ``X.input_scale`` [1] where inputs have a static scale.
`quantization_config` says which.

Trellis codes, which are lichen's own, are ``X.weight_trellis`` uint8 [out, bytes of a row] with
``X.weight_shape`` alone (`lichen.schemes.trellis`).

An output head that shares the embedding's table (``tie_word_embeddings``) has scales under its own
name as well, and no codes: transformers ties ``weight`` to ``weight``, and multiplies each by the
scales beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen.checkpoint.protocol import FLOAT_TYPES
from lichen.checkpoint.quantization_config import (
    PACKED,
    TIED_HEAD,
    TRELLIS,
    LayerFormat,
    is_embedding,
    parse_config,
    stored_as,
)
from lichen.checkpoint.quantized_folder import QuantizedFolder
from lichen.checkpoint.safetensors_folder import SafetensorsFolder
from lichen.errors import InputError
from lichen.schemes import Scheme, trellis_row_bytes
from lichen.schemes.packing import pack, packed_columns, unpack
from lichen.tensor import (
    AnyTensor,
    FloatArray,
    Quantized,
    QuantizedTensor,
    StoredTensor,
    StoredTrellis,
    TrellisTensor,
)

#: What stands beside a quantized weight.
_SCALES, _ZEROS = "weight_scale", "weight_zero_point"
_TRELLIS = "weight_trellis"
_PARTS = (_SCALES, _ZEROS, "weight_shape", "input_scale", "input_zero_point")

_FLOATS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def stored(
    layer: str, tensor: Quantized, *, head: str | None = None
) -> dict[str, npt.NDArray[Any]]:
    """The tensors that a quantized layer is written as.

    ``head`` is a layer without codes of its own, which reads these.
    """
    name, codes = stored_codes(layer, tensor)
    return {name: codes} | stored_beside(layer, tensor, head=head)


def stored_codes(layer: str, tensor: Quantized) -> tuple[str, npt.NDArray[Any]]:
    """The one of `stored` that is large, whose rows are the layer's, each by itself."""
    if isinstance(tensor, TrellisTensor):
        return f"{layer}.{_TRELLIS}", tensor.words
    if _is_packed(layer, tensor):
        return f"{layer}.weight_packed", pack(tensor.codes, tensor.scheme.bits)
    return f"{layer}.weight", tensor.codes


def stored_beside(
    layer: str, tensor: Quantized, *, head: str | None = None
) -> dict[str, npt.NDArray[Any]]:
    """All others of `stored`, for which the numbers in ``tensor.codes`` do not matter."""
    packed = isinstance(tensor, TrellisTensor) or _is_packed(layer, tensor)
    parts = {"weight_shape": np.array(tensor.shape, np.int64)} if packed else {}
    if isinstance(tensor, QuantizedTensor):
        parts |= _scales(tensor, packed=packed)
    if tensor.input_scale is not None:
        parts["input_scale"] = np.array([tensor.input_scale], np.float32)
    made = {f"{layer}.{part}": array for part, array in parts.items()}
    if head is not None:
        made |= {f"{head}.{part}": parts[part] for part in (_SCALES, _ZEROS) if part in parts}
    return made


def _is_packed(layer: str, tensor: QuantizedTensor) -> bool:
    return stored_as(layer, LayerFormat(tensor.scheme, tensor.activations)) == PACKED


def _scales(tensor: QuantizedTensor, *, packed: bool) -> dict[str, npt.NDArray[Any]]:
    """Scales, and zero points, which are packed where codes are."""
    scheme, parts = tensor.scheme, dict[str, npt.NDArray[Any]]()
    whole = scheme.granularity == "tensor"
    scales = tensor.scales.astype(_FLOATS[scheme.scale_type])
    parts[_SCALES] = scales.reshape(1) if whole else scales
    if tensor.zeros is not None and packed and not whole:
        parts[_ZEROS] = np.ascontiguousarray(pack(tensor.zeros.T, scheme.bits).T)
    elif tensor.zeros is not None:
        parts[_ZEROS] = tensor.zeros.reshape(parts[_SCALES].shape)
    return parts


def _weight_of(stored: str) -> str:
    """The weight that stored codes belong to."""
    return stored.removesuffix("_packed").removesuffix("_trellis")


# --- reading the tensors ---------------------------------------------------------------------


class CompressedTensors(QuantizedFolder):
    """A compressed-tensors folder.

    InputError names every reason why lichen cannot run its formats, or every tensor that is not
    stored as its config says.
    """

    method = "compressed-tensors"

    def __init__(self, base: SafetensorsFolder) -> None:
        super().__init__(base)
        self._folder = base
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
            elif name.endswith(f".{_TRELLIS}"):
                faults += self._add_trellis(name)
            elif base.dtype(name) == "I8" and not name.endswith("_zero_point"):
                faults.append(f"{name} is int8 but has no {name}_scale")
            elif name.endswith(".weight_packed"):
                faults.append(f"{name} has no {name.removesuffix('_packed')}_scale")
        self._shared = None if faults else self._shared_table()
        if self._shared:
            faults += self._sharing_faults(self._shared)
            self._formats[self._shared] = self._as_head(self._shared)
        if faults:
            raise InputError(f"{base.path}: {'; '.join(faults)}.")
        layers = [weight.removesuffix(".weight") for weight in self._formats]
        layers += [TIED_HEAD] if self._shared else []
        parts = {f"{layer}.{part}" for layer in layers for part in _PARTS}
        stored = (name for name in base.names() if name not in parts)
        self._names = tuple(map(_weight_of, stored))

    def _scale(self, stored: str) -> str | None:
        """The name of a stored weight's scales, where there are any."""
        scale = f"{stored.removesuffix('_packed')}_scale"
        return scale if scale in self._everything else None

    def _add(self, stored: str) -> Iterator[str]:
        """Take a quantized weight in, or say what is wrong with it."""
        weight = stored.removesuffix("_packed")
        layer, scale = weight.removesuffix(".weight"), f"{weight}_scale"
        group = self._groups.group(layer)
        if group is None:
            yield f"{layer} has scales, but quantization_config does not quantize it"
            return
        if self._base.dtype(scale) not in FLOAT_TYPES:
            yield f"{scale} is {self._base.dtype(scale)}, not {', '.join(FLOAT_TYPES)}"
            return
        scheme = replace(group.format.weights, scale_type=FLOAT_TYPES[self._base.dtype(scale)])
        self._formats[weight] = replace(group.format, weights=scheme)
        if (stored != weight) != (group.stored == PACKED):
            yield f"{layer} is stored as {stored}, not in format {group.stored!r}"
        elif fault := self._shape_fault(weight, stored, self._formats[weight]):
            yield fault
        else:
            yield from self._part_faults(weight, scheme)
        inputs = group.format.activations
        if inputs and not inputs.dynamic:
            yield from self._input_faults(f"{layer}.input_scale")

    def _add_trellis(self, stored: str) -> Iterator[str]:
        """Take a weight in trellis codes in, or say what is wrong with it."""
        weight = _weight_of(stored)
        group = self._groups.group(weight.removesuffix(".weight"))
        if group is None or group.stored != TRELLIS:
            yield f"{stored} is there, but quantization_config gives it no trellis codes"
            return
        self._formats[weight] = group.format
        if fault := self._shape_fault(weight, stored, group.format):
            yield fault
            return
        rows, columns = self._matrix(weight)
        wanted = "U8", (rows, trellis_row_bytes(columns))
        if (found := (self._base.dtype(stored), self._base.shape(stored))) != wanted:
            said = f"{found[0]} {list(found[1])}, not U8 {list(wanted[1])}"
            yield f"{stored} is {said}, for {rows} x {columns}"

    def _shared_table(self) -> str | None:
        """The embedding's weight, where a head without codes has scales for these."""
        tied = self._base.config.get("tie_word_embeddings") is True
        own = {f"{TIED_HEAD}.weight", f"{TIED_HEAD}.weight_packed"}
        if not tied or own & self._everything or not self._scale(f"{TIED_HEAD}.weight"):
            return None
        tables = (name for name in self._formats if is_embedding(name.removesuffix(".weight")))
        return next(tables, None)

    def _as_head(self, table: str) -> LayerFormat:
        """The format of ``table``, with inputs as the group of the head that reads it says."""
        head = self._groups.find(TIED_HEAD)
        return replace(self._formats[table], activations=head.activations if head else None)

    def _sharing_faults(self, table: str) -> Iterator[str]:
        """Why a head that reads the codes of ``table`` cannot do so."""
        chosen, head = self._formats[table], self._groups.find(TIED_HEAD)
        if head is None:
            yield f"{TIED_HEAD} has scales, but quantization_config does not quantize it"
            return
        weights = replace(head.weights, scale_type=chosen.weights.scale_type)
        if weights != chosen.weights:
            yield f"{TIED_HEAD} has {weights}, but shares {table}, which has {chosen.weights}"
            return
        if head.activations and not head.activations.dynamic:
            yield f"{TIED_HEAD} shares {table} and has static activations, which lichen cannot run"
        if fault := self._shape_fault(table, self._stored(table), self._as_head(table)):
            yield fault
        for part in (_SCALES, _ZEROS):
            own, of_table = f"{TIED_HEAD}.{part}", f"{table.removesuffix('weight')}{part}"
            if not self._equal(own, of_table):
                yield f"{own} is not {of_table}, though {TIED_HEAD} shares the codes"

    def _equal(self, first: str, second: str) -> bool:
        """Whether two tensors hold the same, whatever their shapes; one that is absent, zeros."""
        a, b = (
            self._plain(name).ravel() if name in self._everything else None
            for name in (first, second)
        )
        if a is None or b is None:
            return not any(each is not None and each.any() for each in (a, b))
        return np.array_equal(a, b)

    def _input_faults(self, scale: str) -> Iterator[str]:
        """The static scale of a layer's inputs is one number."""
        if scale not in self._everything:
            yield f"{scale} is missing"
        elif self._base.dtype(scale) not in FLOAT_TYPES or self._base.shape(scale) not in (
            (1,),
            (),
        ):
            found = f"{self._base.dtype(scale)} {list(self._base.shape(scale))}"
            yield f"{scale} is {found}, not one float"

    def _shape_fault(self, weight: str, stored: str, chosen: LayerFormat) -> str | None:
        """A weight has rows and columns, of which groups take whole ones."""
        shape = self._base.shape(stored)
        if stored != weight:
            said = f"{weight}_shape"
            if said not in self._everything or self._base.shape(said) != (2,):
                return f"{said}, which says rows and columns, is missing or not two numbers"
            shape = self.shape(weight)
        if len(shape) != 2:
            return f"{weight} has shape {list(shape)}, not rows and columns"
        rows, columns = shape
        size = chosen.weights.whole_columns or columns
        if rows < 1 or columns < 1 or columns % size:
            return f"{weight} is {rows} x {columns}, which groups of {size} columns do not fill"
        shared = (chosen.activations and chosen.activations.group_size) or 1
        if chosen.weights.trellis:
            shared = 1  # a row's last group may be short, of inputs too
        if columns % shared:
            return f"{weight} has {columns} columns, which groups of {shared} inputs do not fill"
        return None

    def _part_faults(self, weight: str, scheme: Scheme) -> Iterator[str]:
        """Codes, scales and zero points have to be as large as the weight's shape says."""
        rows, columns = self._matrix(weight)
        packed = self._is_packed(weight)
        scales = scheme.scale_shape(rows, columns)
        allowed: list[tuple[int, ...]] = [scales]
        if scheme.granularity != "group":  # other writers leave dimensions of one out
            allowed += [(scales[0],), ()] if scales[0] == 1 else [(scales[0],)]
        expected = {f"{weight}_scale": (self._base.dtype(f"{weight}_scale"), allowed)}
        if packed:
            expected[f"{weight}_packed"] = "I32", [(rows, packed_columns(columns, scheme.bits))]
        else:
            expected[weight] = "I8", [(rows, columns)]
        if not scheme.symmetric:
            in_words = packed and scheme.granularity != "tensor"
            words = packed_columns(rows, scheme.bits), scales[1]
            expected[f"{weight}_zero_point"] = ("I32", [words]) if in_words else ("I8", allowed)
        for name, (dtype, wanted) in expected.items():
            if name not in self._everything:
                yield f"{name} is missing"
            elif self._base.dtype(name) != dtype or self._base.shape(name) not in wanted:
                found = f"{self._base.dtype(name)} {list(self._base.shape(name))}"
                yield f"{name} is {found}, not {dtype} {list(wanted[0])}, for {rows} x {columns}"

    def _formats_in_words(self) -> Iterator[str]:
        return map(str, self._formats.values())

    def names(self) -> tuple[str, ...]:
        """Names of tensors; the scales of a layer are part of its weight."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; of a packed weight, when it is unpacked."""
        if not self._is_packed(name) and not self._in_trellis(name):
            return self._base.shape(name)
        rows, columns = self._plain(f"{name}_shape").tolist()
        return int(rows), int(columns)

    def dtype(self, name: str) -> str:
        """Stored element type; "I8", "I4" ... for a quantized weight, by its bits."""
        return (
            f"I{self._formats[name].weights.bits}"
            if name in self._formats
            else self._base.dtype(name)
        )

    def read(self, name: str) -> FloatArray | Quantized:
        """One tensor: floats as stored, or a quantized weight with its scales."""
        if name not in self._formats:
            return self._plain(name)
        chosen, scale = self._formats[name], self._input_scale(name)
        if chosen.weights.trellis:
            words, shape = self._integers(self._stored(name)), self._matrix(name)
            return TrellisTensor(words, shape, chosen.weights, chosen.activations, scale)
        scales, zeros = self._scales(name), self._zeros(name, chosen.weights)
        codes = self._codes(name, chosen.weights)
        return QuantizedTensor(codes, scales, zeros, chosen.weights, chosen.activations, scale)

    def read_exact(self, name: str) -> AnyTensor:
        """As `read`, but codes that the core can take as they lie are left in their file."""
        if name not in self._formats:
            return self._base.read_exact(name)
        chosen = self._formats[name]
        if chosen.weights.trellis:
            inputs = chosen.activations
            if inputs is None or inputs.group_size != chosen.weights.group_size:
                return self.read(name)
            words = self._folder.rows(self._stored(name), "uint8")
            return StoredTrellis(words, self._matrix(name), chosen.weights, inputs)
        columns = self._matrix(name)[1]
        if self._is_packed(name):
            as_they_lie = chosen.weights.bits == 4 and columns % 8 == 0
        else:
            as_they_lie = chosen.weights.bits == 8
        if not (as_they_lie and chosen.weights.symmetric):
            return self.read(name)
        self._zeros(name, chosen.weights)  # which must not be there, or be 0
        kind = "int4" if self._is_packed(name) else "int8"
        codes = self._folder.rows(self._stored(name), kind, columns)
        scale = self._input_scale(name)
        return StoredTensor(codes, self._scales(name), chosen.weights, chosen.activations, scale)

    def _scales(self, name: str) -> npt.NDArray[np.float32]:
        scales = self._plain(f"{name}_scale").astype(np.float32)
        if not np.isfinite(scales).all():
            raise InputError(f"{self._base.path}: {name}_scale has values that are not finite.")
        return scales.reshape(self._formats[name].weights.scale_shape(*self._matrix(name)))

    def _codes(self, name: str, scheme: Scheme) -> npt.NDArray[np.int8]:
        if self._is_packed(name):
            return unpack(self._integers(f"{name}_packed"), scheme.bits, self.shape(name)[1])
        codes = self._integers(name)
        if scheme.bits < 8 and not (scheme.low <= codes.min() and codes.max() <= scheme.high):
            raise InputError(
                f"{self._base.path}: {name} has codes that are not of {scheme.bits} bits."
            )
        return codes

    def _input_scale(self, name: str) -> float | None:
        """The one scale of a product's inputs, where that is static."""
        activations, layer = self._formats[name].activations, name.removesuffix(".weight")
        if activations is None or activations.dynamic:
            return None
        scale = float(self._plain(f"{layer}.input_scale").astype(np.float32).reshape(()))
        if not 0 < scale < np.inf:
            raise InputError(f"{self._base.path}: {layer}.input_scale is {scale}, not positive.")
        shift = f"{layer}.input_zero_point"
        if shift in self._everything and self._plain(shift).any():
            raise InputError(f"{self._base.path}: {shift} is not zero in a symmetric format.")
        return scale

    def _is_packed(self, name: str) -> bool:
        return name in self._formats and f"{name}_packed" in self._everything

    def _in_trellis(self, name: str) -> bool:
        return name in self._formats and self._formats[name].weights.trellis

    def _stored(self, name: str) -> str:
        """The name of a quantized weight's codes."""
        if self._in_trellis(name):
            return f"{name.removesuffix('weight')}{_TRELLIS}"
        return f"{name}_packed" if self._is_packed(name) else name

    def _zeros(self, name: str, scheme: Scheme) -> npt.NDArray[np.int8] | None:
        """Zero points as scales lie; none, or stored zeros, in a symmetric format."""
        stored = f"{name}_zero_point"
        if scheme.symmetric:
            if stored in self._everything and self._plain(stored).any():
                raise InputError(f"{self._base.path}: {stored} is not zero in a symmetric format.")
            return None
        zeros = self._integers(stored)
        rows, columns = self._matrix(name)
        if zeros.dtype != np.int8:
            zeros = np.ascontiguousarray(unpack(zeros.T, scheme.bits, rows).T)
        return zeros.reshape(scheme.scale_shape(rows, columns))

    def _matrix(self, name: str) -> tuple[int, int]:
        rows, columns = self.shape(name)
        return rows, columns

    def _integers(self, name: str) -> npt.NDArray[Any]:
        return cast("npt.NDArray[Any]", self._base.read(name))

    def _plain(self, name: str) -> FloatArray:
        return cast(FloatArray, self._base.read(name))  # the base joins nothing
