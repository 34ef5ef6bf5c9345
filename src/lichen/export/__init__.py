"""A model as one GGUF file, which llama.cpp and its kin run.

Weights that are quantized already keep their codes where a GGUF type holds them; everything else
is rounded, and the report says to what.  One tensor is in memory at a time, and the file appears
under its name when it is whole, or not at all.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lichen import models
from lichen.checkpoint import Checkpoint, open_checkpoint
from lichen.checkpoint.atomic import AtomicFile
from lichen.checkpoint.disk import require_space
from lichen.checkpoint.gguf import GgufCheckpoint
from lichen.checkpoint.gguf_blocks import BlockType, Bytes
from lichen.checkpoint.gguf_encode import TYPES, encode, encode_codes, holds
from lichen.checkpoint.gguf_names import gguf_name, permute, permuted_heads
from lichen.checkpoint.gguf_writer import TensorPlan, header, padded, write_gguf
from lichen.errors import InputError
from lichen.export.metadata import metadata
from lichen.export.types import ASKED, AUTO, FILE_TYPES, asked_type, faithful_type, fitting
from lichen.schemes import Scheme, dequantize_rows, to_float32, trellis
from lichen.tensor import FloatArray, Quantized, QuantizedTensor, TrellisTensor

__all__ = ["ASKED", "AUTO", "ExportReport", "ExportedTensor", "export"]

#: (weights done, weights in all)
Progress = Callable[[int, int], None]

#: copied   bytes of a GGUF source, as they are
#: codes    the codes of a quantized weight, with its scales as float16
#: rounded  floats, to the type; "again" where they had been rounded before
How = Literal["copied", "codes", "rounded", "again"]

#: Codes are kept while their scales as float16 add no more than this relative squared error; more
#: comes of scales that leave float16's range.
_SCALES_ERROR = 1e-6

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True)
class ExportedTensor:
    """What became of a tensor; `error` is squared, over the sum of squares."""

    name: str
    shape: tuple[int, ...]
    source: str
    type: str
    wanted: str
    how: How
    error: float


@dataclass(frozen=True)
class ExportReport:
    """A finished file; `source_bytes` are those of the weights that it was made from."""

    path: Path
    source: str
    source_bytes: int
    bytes: int
    parameters: int
    seconds: float
    tensors: list[ExportedTensor] = field(default_factory=list)

    @property
    def bits_per_weight(self) -> float:
        """Bits of the file over all parameters."""
        return 8 * self.bytes / self.parameters

    @property
    def fallbacks(self) -> Counter[tuple[str, str]]:
        """By wanted type and the one in its place: tensors whose rows its blocks do not divide."""
        return Counter((t.wanted, t.type) for t in self.tensors if t.type != t.wanted)


def export(
    model: Path,
    out: Path,
    *,
    type: str = AUTO,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the model at ``model``, a folder or a GGUF file, as the GGUF file ``out``.

    type  one of `ASKED`; "auto" keeps what the model has, without loss where a type allows it

    InputError for a model that GGUF cannot say or a file that is there (unless ``force``),
    ResourceError when the disk is too small; then, and when interrupted, nothing is left behind.
    """
    start = time.monotonic()
    source = open_checkpoint(model)
    _require_apart(model, out)
    work = _Work(source, type, progress)
    facts = metadata(source, work.file_type())
    with AtomicFile(out, force=force) as file:
        size = len(header(facts, work.plans)) + sum(padded(plan.nbytes) for plan in work.plans)
        require_space(out.parent, size, f"export of {model.name}")
        write_gguf(file, facts, work.plans)
    return ExportReport(
        path=out,
        source=source.description,
        source_bytes=source.size_bytes,
        bytes=size,
        parameters=work.total,
        seconds=time.monotonic() - start,
        tensors=work.done,
    )


def _require_apart(model: Path, out: Path) -> None:
    """The output must not replace what it is made from, not even with ``force``."""
    own = [model] if model.is_file() else [f for f in model.iterdir() if f.suffix != ".gguf"]
    if out.resolve() in {file.resolve() for file in own}:
        part = "the model itself" if model.is_file() else "a part of the model"
        raise InputError(f"{out} is {part}; choose another file for the output.")


class _Work:
    """One run: the type of each tensor, and what came of it."""

    def __init__(self, source: Checkpoint, asked: str, progress: Progress | None) -> None:
        self.source = source
        self.asked = asked
        self.progress = progress
        self.done: list[ExportedTensor] = []
        graph = models.build(source.config)
        present = set(source.names())
        used = [name for name, _ in graph.weights()]
        if missing := [name for name in used if name not in present]:
            raise InputError(f"{source.path}: {missing[0]} is missing ({len(missing)} in all).")
        self.layers = int(source.config["num_hidden_layers"])
        self.tied = _HEAD not in used
        self.total = sum(math.prod(source.shape(name)) for name in used)
        self.plans = [self._plan(name) for name in dict.fromkeys(used)]

    def file_type(self) -> int:
        """``general.file_type``: what was asked for, else the type of most weights."""
        if self.asked != AUTO:
            return FILE_TYPES[self.asked]
        weights: Counter[str] = Counter()
        for plan in self.plans:
            weights[plan.type.name] += plan.nbytes
        return FILE_TYPES[weights.most_common(1)[0][0]]

    def _plan(self, name: str) -> TensorPlan:
        shape, scheme = self.source.shape(name), self._scheme(name)
        wanted = self._wanted(name, shape, scheme)
        kind = fitting(wanted, shape[-1])

        def make() -> Bytes:
            data, how, error = self._made(name, kind)
            record = ExportedTensor(
                name, shape, self.source.dtype(name), kind.name, wanted.name, how, error
            )
            self._finish(record)
            return data

        return TensorPlan(gguf_name(name), shape, kind, make)

    def _wanted(self, name: str, shape: tuple[int, ...], scheme: Scheme | None) -> BlockType:
        if len(shape) == 1:
            return TYPES["F32"]
        if self.asked == AUTO:
            return faithful_type(self.source.dtype(name), shape[1], scheme)
        is_head = name == (_EMBEDDING if self.tied else _HEAD)
        return asked_type(self.asked, name, self.layers, is_head=is_head)

    def _scheme(self, name: str) -> Scheme | None:
        """How a weight is quantized already; None for floats and for the blocks of a GGUF file."""
        if self.source.dtype(name) in TYPES:
            return None
        tensor = self.source.read(name)
        return tensor.scheme if isinstance(tensor, Quantized) else None

    def _made(self, name: str, kind: BlockType) -> tuple[Bytes, How, float]:
        if isinstance(self.source, GgufCheckpoint) and self.source.dtype(name) == kind.name:
            return self.source.stored(name)[1], "copied", 0.0
        tensor = self.source.read(name)
        heads = permuted_heads(self.source.config, name)
        try:
            if isinstance(tensor, TrellisTensor):
                tensor = trellis.decode(tensor)
            if isinstance(tensor, QuantizedTensor):
                return _from_quantized(kind, _permuted(tensor, heads))
            return self._from_floats(name, kind, permute(tensor, heads) if heads else tensor)
        except ValueError as error:
            raise InputError(f"{self.source.path}: {name}: {error}.") from None

    def _from_floats(
        self, name: str, kind: BlockType, tensor: FloatArray
    ) -> tuple[Bytes, How, float]:
        matrix = tensor.reshape(1, -1) if tensor.ndim == 1 else tensor
        data, error = encode(kind, matrix.shape, lambda rows: to_float32(matrix[rows]))
        before = TYPES.get(self.source.dtype(name))
        again = before is not None and before.blocked and error > 0
        return data, "again" if again else "rounded", error

    def _finish(self, record: ExportedTensor) -> None:
        self.done.append(record)
        if self.progress:
            self.progress(sum(math.prod(t.shape) for t in self.done), self.total)


def _from_quantized(kind: BlockType, tensor: QuantizedTensor) -> tuple[Bytes, How, float]:
    if holds(kind, tensor.scheme, tensor.shape[1]):
        try:
            data, error = encode_codes(kind, tensor)
        except ValueError:
            error = math.inf
        if error <= _SCALES_ERROR:
            return data, "codes", error
    data, error = encode(kind, tensor.shape, lambda rows: dequantize_rows(tensor, rows))
    return data, "again", error


def _permuted(tensor: QuantizedTensor, heads: int) -> QuantizedTensor:
    if not heads:
        return tensor
    alike = len(tensor.scales) > 1  # else one scale is for all rows
    return replace(
        tensor,
        codes=permute(tensor.codes, heads),
        scales=permute(tensor.scales, heads) if alike else tensor.scales,
        zeros=permute(tensor.zeros, heads) if alike and tensor.zeros is not None else tensor.zeros,
    )
