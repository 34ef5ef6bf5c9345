"""The pipeline from a model to a quantized folder, one tensor at a time.

Nothing is held but the tensor at hand, so the peak of memory does not grow with the model.  The
folder appears under its name when it is whole, or not at all.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lichen
from lichen import graph as ops
from lichen import models
from lichen.checkpoint import Checkpoint, manifest, open_checkpoint
from lichen.checkpoint.atomic import AtomicFolder, write_shards, write_tokenizer
from lichen.checkpoint.compressed_tensors import stored
from lichen.checkpoint.manifest import (
    LayerRecord,
    Manifest,
    NarrowedRecord,
    RecipeRecord,
    SourceRecord,
)
from lichen.checkpoint.quantization_config import LayerFormat, quantization_config
from lichen.errors import InputError, ResourceError
from lichen.recipe import Recipe, Rule
from lichen.schemes import (
    FloatType,
    Scheme,
    dequantize_rows,
    int4,
    map_row_blocks,
    to_float32,
)
from lichen.solvers import solver
from lichen.tensor import FloatArray, QuantizedTensor
from lichen.tokenizer import Tokenizer

#: (elements done, elements in all)
Progress = Callable[[int, int], None]

#: The name that an output head goes by in recipes and configs when it shares the embedding's table.
TIED_HEAD = "lm_head"

_FLOAT_TYPES: dict[str, FloatType] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_INTEGERS = {"I64", "I32", "I16", "I8", "U8", "BOOL"}
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

#: Room for tokenizer, config and manifest when disk space is checked.
_SMALL_FILES_BYTES = 32 << 20

#: float16 may stand for dequantized values when it adds no more than this relative squared error:
#: ten times what rounding to 11 bits costs, so it is passed only where values leave its range.
_NARROWING_ERROR = 1e-6


@dataclass(frozen=True)
class QuantizeReport:
    """A finished folder: where, what is in it, and how long it took."""

    path: Path
    manifest: Manifest
    seconds: float


def quantize(
    model: Path,
    recipe: Recipe,
    out: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Quantize the model at ``model``, a folder or a GGUF file, by ``recipe`` into folder ``out``.

    InputError for a model, recipe or folder that cannot be used (a folder that is not empty needs
    ``force``), ResourceError when the disk is too small.  Either way, and when interrupted, nothing
    is left behind and an existing folder stays as it was.
    """
    start = time.monotonic()
    source = open_checkpoint(model)
    Tokenizer.load(source)  # a model that comes out without one could not be run
    work = _Work(source, recipe, progress)
    _require_apart(model, out)
    with AtomicFolder(out, force=force) as folder:
        _require_space(folder, work.predicted_bytes())
        write_shards(folder, work.tensors())
        _write_json(folder / "config.json", work.config())
        write_tokenizer(source, folder)
        made = work.manifest(folder)
        manifest.write(made, folder)
    return QuantizeReport(out, made, time.monotonic() - start)


def fingerprint(source_digest: str, recipe: Recipe) -> str:
    """What `existing` has to show for the work to be the same: source, recipe and this lichen."""
    return manifest.fingerprint(source_digest, recipe.digest, lichen.__version__)


def existing(out: Path) -> Manifest | None:
    """The manifest of a whole quantized folder, or None where there is none."""
    return manifest.read(out)


def linear_layers(graph: ops.Graph) -> dict[str, str]:
    """The linear layers of a model in running order: their names, and those of their weights."""
    tables = {n.operation.weight for n in graph.nodes if isinstance(n.operation, ops.Embedding)}
    linears = [n.operation for n in graph.nodes if isinstance(n.operation, ops.Linear)]
    return {
        TIED_HEAD if op.weight in tables else op.weight.removesuffix(".weight"): op.weight
        for op in linears
    }


class _Work:
    """One run: what to do with each tensor, and what came of it."""

    def __init__(self, source: Checkpoint, recipe: Recipe, progress: Progress | None) -> None:
        if source.config.get("quantization_config") is not None:
            raise InputError(
                f"{source.path} is already quantized; give the model that it was made from."
            )
        self.source = source
        self.recipe = recipe
        self.progress = progress
        self.layers: list[LayerRecord] = []
        self.narrowed: list[NarrowedRecord] = []
        graph = models.build(source.config)
        _require_weights(source, graph)
        self.in_use = {name for name, _ in graph.weights()}
        linears = linear_layers(graph)
        self.rules = recipe.assign(linears)
        head = self.rules.get(TIED_HEAD)
        if head and linears[TIED_HEAD] != f"{TIED_HEAD}.weight":
            if not head.keep_tied:
                raise InputError(
                    f"recipe {recipe.name}: {TIED_HEAD} shares its weight with the embedding in"
                    " this model and cannot be quantized alone; keep it, or set keep_tied = true."
                )
            self.rules[TIED_HEAD] = None
        self.to_quantize = {
            linears[layer]: (layer, rule) for layer, rule in self.rules.items() if rule
        }
        if not self.to_quantize:
            raise InputError(f"recipe {recipe.name}: no layer of this model would be quantized.")
        self._require_whole_groups()
        # A copy of the embedding that a tied model carries for its head is never read.
        copies = set() if f"{TIED_HEAD}.weight" in linears.values() else {f"{TIED_HEAD}.weight"}
        self.names = [name for name in source.names() if name not in copies]

    def _require_whole_groups(self) -> None:
        """Every row is cut into whole groups, or InputError names the layers where that fails."""
        faults = []
        for name, (layer, rule) in self.to_quantize.items():
            size, columns = rule.scheme.group_size, self.source.shape(name)[1]
            if size and columns % size:
                fitting = [str(s) for s in int4.GROUP_SIZES if columns % s == 0]
                instead = (
                    f"groups of {' or '.join(fitting)} fit" if fitting else "none fit; keep it"
                )
                faults.append(
                    f"{layer} has {columns} inputs, not whole groups of {size} ({instead})"
                )
        if faults:
            more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise InputError(
                f"recipe {self.recipe.name}: groups do not divide every row:"
                f" {'; '.join(faults[:3])}{more}."
            )

    def predicted_bytes(self) -> int:
        """The size of the weight files, to within their headers."""
        total = 0
        for name in self.names:
            if name in self.to_quantize:
                total += self._scheme(name).stored_bits(*self._matrix(name)) // 8
            else:
                total += self._elements(name) * _ITEM_BYTES[self._float_type(name)]
        return total

    def tensors(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Every tensor of the folder, made when it is asked for."""
        total = sum(map(self._elements, self.names))
        done = 0
        for name in self.names:
            parts = self._converted(name)
            while parts:
                yield parts.popitem()  # so that nothing is held while the next one is made
            done += self._elements(name)
            if self.progress:
                self.progress(done, total)

    def config(self) -> dict[str, Any]:
        """The source's config.json with the formats; ask only after `tensors`."""
        config = dict(self.source.config)
        if self.narrowed:
            config.pop("dtype", None)
            wide = any(record.dtype == "float32" for record in self.narrowed)
            config["torch_dtype"] = "float32" if wide else "float16"
        formats = {layer: _format(rule) if rule else None for layer, rule in self.rules.items()}
        return config | {"quantization_config": quantization_config(formats)}

    def manifest(self, folder: Path) -> Manifest:
        """The record of the run; ask only after the weights are in ``folder``."""
        files = {f.name: f.stat().st_size for f in sorted(folder.glob("*.safetensors"))}
        parameters = sum(map(self._elements, self.names))
        quantized = sum(layer.rows * layer.columns for layer in self.layers)
        bits = sum(self._scheme(name).stored_bits(*self._matrix(name)) for name in self.to_quantize)
        digest = self.source.digest()
        return Manifest(
            fingerprint=fingerprint(digest, self.recipe),
            versions={"lichen": lichen.__version__, "numpy": np.__version__},
            recipe=RecipeRecord(
                name=self.recipe.name, digest=self.recipe.digest, text=self.recipe.text
            ),
            source=SourceRecord(
                description=self.source.description, digest=digest, bytes=self.source.size_bytes
            ),
            parameters=parameters,
            bytes=sum(files.values()),
            bits_per_weight=8 * sum(files.values()) / parameters,
            quantized_parameters=quantized,
            quantized_bits_per_weight=bits / quantized,
            files=files,
            layers=self.layers,
            narrowed=self.narrowed,
        )

    def _converted(self, name: str) -> dict[str, npt.NDArray[Any]]:
        tensor = self.source.read(name)
        if isinstance(tensor, QuantizedTensor):
            raise InputError(f"{self.source.path}: {name} is already quantized.")
        if name in self.to_quantize:
            layer, rule = self.to_quantize[name]
            return stored(layer, self._quantized(layer, rule, tensor))
        return {name: self._kept(name, tensor)}

    def _quantized(self, layer: str, rule: Rule, weight: FloatArray) -> QuantizedTensor:
        try:
            quantized = solver(rule.solver).solve(weight, self._scheme(f"{layer}.weight"))
        except ValueError as error:
            raise InputError(f"{self.source.path}: {layer}.weight: {error}.") from None
        rows, columns = quantized.shape
        self.layers.append(
            LayerRecord(
                name=layer,
                rows=rows,
                columns=columns,
                format=str(_format(rule)),
                solver=rule.solver,
                error=relative_error(weight, lambda part: dequantize_rows(quantized, part)),
            )
        )
        return quantized

    def _kept(self, name: str, tensor: FloatArray) -> npt.NDArray[Any]:
        """A tensor that stays in floats: as it was stored, or narrowed where it was dequantized."""
        if name not in self.in_use:
            return tensor  # a buffer that others may want; it need not even be floats
        if not _all_finite(tensor):
            raise InputError(f"{self.source.path}: {name} has values that are not finite.")
        if self.source.dtype(name) in _FLOAT_TYPES:
            return tensor
        narrow = np.empty(tensor.shape, np.float16)

        def narrowed(rows: slice) -> npt.NDArray[np.float32]:
            with np.errstate(over="ignore"):
                narrow[rows] = tensor[rows]
            return narrow[rows].astype(np.float32)

        error = relative_error(tensor, narrowed)
        fits = error <= _NARROWING_ERROR
        dtype, error = ("float16", error) if fits else ("float32", 0.0)
        self.narrowed.append(NarrowedRecord(name=name, dtype=dtype, error=error))
        return narrow if fits else tensor.astype(np.float32, copy=False)

    def _float_type(self, name: str) -> FloatType:
        """The float type that a tensor, or a quantized layer's scales, will be stored in."""
        return _FLOAT_TYPES.get(self.source.dtype(name), "float16")

    def _scheme(self, name: str) -> Scheme:
        """The format of a weight that is quantized, scales in the source's own float type.

        Scales of groups are never float32: they are many, and the kernels read 16 bits.
        """
        rule = self.to_quantize[name][1]
        scale_type = self._float_type(name)
        if rule.scheme.group_size and scale_type == "float32":
            scale_type = "float16"
        return replace(rule.scheme, scale_type=scale_type)

    def _matrix(self, name: str) -> tuple[int, int]:
        rows, columns = self.source.shape(name)
        return rows, columns

    def _elements(self, name: str) -> int:
        return int(np.prod(self.source.shape(name), dtype=np.int64))


def _format(rule: Rule) -> LayerFormat:
    return LayerFormat(rule.scheme, rule.activations)


def relative_error(
    tensor: FloatArray, approximation: Callable[[slice], npt.NDArray[np.float32]]
) -> float:
    """Squared error of an approximation over the sum of squares; 0 for a tensor of zeros.

    ``approximation`` gives the rows that it is asked for.
    """

    def sums(rows: slice) -> tuple[float, float]:
        block = to_float32(tensor[rows])
        return _sum_of_squares(approximation(rows) - block), _sum_of_squares(block)

    error, scale = np.sum(map_row_blocks(sums, tensor.shape), axis=0)
    return float(error / scale) if scale else 0.0


def _sum_of_squares(block: npt.NDArray[np.float32]) -> float:
    return float(np.square(block).sum())  # not a BLAS product: its order depends on threads


def _all_finite(tensor: FloatArray) -> bool:
    def finite(rows: slice) -> bool:
        return bool(np.isfinite(to_float32(tensor[rows])).all())

    return all(map_row_blocks(finite, tensor.shape))


def _require_weights(source: Checkpoint, graph: ops.Graph) -> None:
    """Every weight of the graph is there in its shape, or InputError names those that are not."""
    present = set(source.names())
    faults = []
    for name, shape in graph.weights():
        if name not in present:
            faults.append(f"{name} is missing")
        elif source.shape(name) != shape:
            faults.append(f"{name} is {list(source.shape(name))}, config.json asks {list(shape)}")
        elif source.dtype(name) in _INTEGERS:
            faults.append(f"{name} is {source.dtype(name)}, not a float type")
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"{source.path}: {'; '.join(faults[:5])}{more}.")


def _require_apart(model: Path, out: Path) -> None:
    """The output must not replace the model that it is made from, not even with ``force``."""
    source, target = model.resolve(), out.resolve()
    if target == source or target in source.parents:
        raise InputError(f"{out} holds the model itself; choose another folder for the output.")


def _require_space(folder: Path, weight_bytes: int) -> None:
    needed, free = weight_bytes + _SMALL_FILES_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"the quantized model needs {needed / 1e6:.0f} MB, but {folder.parent} has"
            f" {free / 1e6:.0f} MB free; make room or choose another --out."
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
