"""The pipeline from a model to a quantized folder.

Where no recipe asks to see inputs, nothing is held but the tensor at hand, the next one, and what
waits to be written, so the peak of memory does not grow with the model.  The folder appears under
its name when it is whole, or not at all.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lichen
from lichen.calibration import standard_library
from lichen.checkpoint import Checkpoint, manifest, open_checkpoint
from lichen.checkpoint.atomic import AtomicFolder, Written, write_shards, write_tokenizer
from lichen.checkpoint.disk import folder_bytes
from lichen.checkpoint.manifest import CalibrationRecord, Manifest, RecipeRecord, SourceRecord
from lichen.checkpoint.quantization_config import PACKED, stored_as
from lichen.code_text import CodeText
from lichen.errors import InputError, ResourceError
from lichen.quantize.assignment import Assignment, layer_format
from lichen.quantize.assignment import linear_layers as linear_layers
from lichen.quantize.layers import kept, quantized, read_floats, written
from lichen.quantize.pieces import in_pieces, written_in_pieces
from lichen.quantize.progress import Counting, Say, Told, silent
from lichen.quantize.progress import Progress as Progress
from lichen.quantize.records import Records
from lichen.read_ahead import LARGE_ELEMENTS, ReadAhead
from lichen.recipe import Recipe
from lichen.reuse import reusing
from lichen.tensor import FloatArray
from lichen.tokenizer import Tokenizer

#: Room for tokenizer, config and manifest when disk space is checked.
_SMALL_FILES_BYTES = 32 << 20


@dataclass(frozen=True)
class QuantizeReport:
    """A finished folder: where, what is in it, and how long it took.

    ``not_for_transformers`` says in words what transformers cannot read of it; nothing as a rule.
    """

    path: Path
    manifest: Manifest
    seconds: float
    not_for_transformers: tuple[str, ...] = ()


def quantize(
    model: Path,
    recipe: Recipe,
    out: Path,
    *,
    force: bool = False,
    requantize: bool = False,
    calibration: CodeText | None = None,
    threads: int | None = None,
    isa: str | None = None,
    progress: Progress | None = None,
    say: Say = silent,
) -> QuantizeReport:
    """Quantize the model at ``model``, a folder or a GGUF file, by ``recipe`` into folder ``out``.

    requantize   take a model that is quantized already as what its weights stand for
    calibration  text to see inputs on, where the recipe asks for it; the standard library if None
    threads, isa  as in `lichen.loading.load`, for that
    say          is told, in words, what to expect and what is gone on with

    InputError for a model, recipe, text or folder that cannot be used (a folder that is not empty
    needs ``force``), ResourceError when the disk is too small.  Then nothing is left behind and an
    existing folder stays as it was.  A run that looks at inputs keeps what it has done, beside the
    target, and the same call goes on with it.
    """
    start = time.monotonic()
    source = open_checkpoint(model)
    Tokenizer.require(source)  # a model that comes out without one could not be run
    if source.config.get("quantization_config") is not None and not requantize:
        raise InputError(
            f"{source.path} is already quantized; give the model that it was made from,"
            " or insist with --requantize."
        )
    work = Assignment(source, recipe)
    _require_apart(model, out)
    if not work.choices:
        _say_unread(work, say)
    if recipe.calibrated:
        from lichen.quantize.calibrated import quantize_calibrated

        text = calibration or standard_library()
        made = quantize_calibrated(
            work,
            Tokenizer.load(source),
            text,
            out,
            force=force,
            threads=threads,
            isa=isa,
            told=Told(progress, say),
        )
    else:
        made = _quantize_directly(work, out, force=force, told=Told(progress, say))
    if work.choices:
        work = Assignment(source, recipe.settled(made.chosen))
        _say_unread(work, say)
    return QuantizeReport(out, made, time.monotonic() - start, _unread(work))


def _unread(work: Assignment) -> tuple[str, ...]:
    """What transformers 5.24 with compressed-tensors 0.20 cannot read of a folder, in words.

    See "Who reads the folders" in docs/recipes.md.
    """
    found = {}
    for name, (layer, rule) in work.to_quantize.items():
        if rule.scheme.trellis:
            return ("trellis codes",)
        packed = stored_as(layer, layer_format(rule)) == PACKED
        if packed and name in work.tables:
            found["packed"] = "a packed embedding"
        elif packed and not rule.scheme.symmetric and rule.scheme.granularity != "tensor":
            found["zeros"] = "packed zero points"
    if not work.sharing and work.tables & work.to_quantize.keys() & {*work.linears.values()}:
        found["head"] = "a quantized embedding that is the head too"
    return tuple(found.values())


def _say_unread(work: Assignment, say: Say) -> None:
    if faults := _unread(work):
        say(f"transformers cannot use this folder, lichen can: it has {' and '.join(faults)}")


def fingerprint(source_digest: str, recipe: Recipe, calibration: CodeText | None = None) -> str:
    """What `existing` has to show for the work to be the same: source, recipe, text, version."""
    seen = calibration_record(recipe, calibration) if recipe.calibrated else None
    return manifest.fingerprint(source_digest, recipe.digest, lichen.__version__, seen)


def calibration_record(recipe: Recipe, text: CodeText | None) -> CalibrationRecord:
    """What of which text inputs are seen on."""
    chosen, size = text or standard_library(), recipe.calibration
    return CalibrationRecord(
        name=chosen.name,
        sha256=chosen.sha256,
        sequences=size.sequences,
        length=size.length,
        seed=size.seed,
    )


def existing(out: Path) -> Manifest | None:
    """The manifest of a whole quantized folder, or None where there is none."""
    return manifest.read(out)


def _quantize_directly(work: Assignment, out: Path, *, force: bool, told: Told) -> Manifest:
    """Every tensor as it comes from the source."""
    records = Records()
    done = told.counting(work.elements)
    with AtomicFolder(out, force=force) as folder, reusing():
        require_space(folder, work.predicted_bytes())
        told.say(prediction(work))
        hashing = _hash_beside(work.source)
        write_shards(folder, _tensors(work, records, done))
        hashing.join()
        return finish(work, folder, records)


def _hash_beside(source: Checkpoint) -> threading.Thread:
    """Begin with the source's digest, which it remembers, while its weights are read anyway.

    A file that cannot be read is told of by whoever asks for the digest next.
    """

    def digest() -> None:
        with contextlib.suppress(InputError):
            source.digest()

    thread = threading.Thread(target=digest, daemon=True)
    thread.start()
    return thread


def _tensors(work: Assignment, records: Records, done: Counting) -> Iterator[tuple[str, Written]]:
    """Every tensor of the folder, made when it is asked for."""
    large = {name for name in work.names if work.count(name) > LARGE_ELEMENTS}
    whole = [name for name in work.names if not in_pieces(work, name)]
    with ReadAhead(lambda name: read_floats(work, name), whole, large) as ahead:
        for name in work.names:
            if in_pieces(work, name):
                yield from written_in_pieces(work, name, records)
            else:
                parts = _converted(work, name, ahead.read(name), records)
                for part in [*parts]:
                    yield part, parts.pop(part)  # so that nothing is held while the next is made
            done.add(work.count(name))


def _converted(
    work: Assignment, name: str, weight: FloatArray, records: Records
) -> dict[str, npt.NDArray[Any]]:
    if name not in work.to_quantize:
        return {name: records.kept(kept(work, name, weight))}
    tensor = records.quantized(quantized(work, name, weight))
    return written(work, name, tensor)


def finish(
    work: Assignment,
    folder: Path,
    records: Records,
    calibration: CalibrationRecord | None = None,
) -> Manifest:
    """Write all that is no weight into a folder that has these, and what it was made of."""
    _write_json(folder / "config.json", _config(work, records))
    write_tokenizer(work.source, folder)
    made = _manifest(work, folder, records, calibration)
    manifest.write(made, folder)
    if changed := work.source.changed():
        raise InputError(
            f"{changed} changed while it was being quantized, or is gone; run it again."
        )
    return made


def _config(work: Assignment, records: Records) -> dict[str, Any]:
    """The source's config.json with the formats."""
    config = dict(work.source.config)
    if records.narrowed:
        config.pop("dtype", None)
        wide = any(record.dtype == "float32" for record in records.narrowed)
        config["torch_dtype"] = "float32" if wide else "float16"
    return config | {"quantization_config": work.quantization_config()}


def _manifest(
    work: Assignment,
    folder: Path,
    records: Records,
    calibration: CalibrationRecord | None,
) -> Manifest:
    files = {f.name: f.stat().st_size for f in sorted(folder.glob("*.safetensors"))}
    recipe, digest = work.recipe, work.source.digest()
    parameters, (weights, bits) = work.elements, work.quantized_bits()
    return Manifest(
        fingerprint=manifest.fingerprint(digest, recipe.digest, lichen.__version__, calibration),
        versions={"lichen": lichen.__version__, "numpy": np.__version__},
        recipe=RecipeRecord(name=recipe.name, digest=recipe.digest, text=recipe.text),
        source=SourceRecord(
            description=work.source.description, digest=digest, bytes=work.source.size_bytes
        ),
        calibration=calibration,
        parameters=parameters,
        bytes=sum(files.values()),
        predicted_bytes=work.predicted_bytes(),
        bits_per_weight=8 * sum(files.values()) / parameters,
        quantized_parameters=weights,
        quantized_bits_per_weight=bits / weights,
        files=files,
        layers=records.layers,
        narrowed=records.narrowed,
        chosen=work.chosen,
    )


def prediction(work: Assignment) -> str:
    """What a folder will take, before it is made."""
    size = work.predicted_bytes()
    weights, bits = work.quantized_bits()
    average = f", {bits / weights:.2f} in the quantized layers" if weights else ""
    return f"about {size / 1e6:.0f} MB, {8 * size / work.elements:.2f} bits per weight{average}"


def require_space(folder: Path, weight_bytes: int) -> None:
    """ResourceError where the disk of ``folder``, which may hold a part, is too small."""
    needed = max(0, weight_bytes - folder_bytes(folder)) + _SMALL_FILES_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"the quantized model needs {needed / 1e6:.0f} MB, but {folder.parent} has"
            f" {free / 1e6:.0f} MB free; make room or choose another --out."
        )


def _require_apart(model: Path, out: Path) -> None:
    """The output must not replace the model that it is made from, not even with ``force``."""
    source, target = model.resolve(), out.resolve()
    if target == source or target in source.parents:
        raise InputError(f"{out} holds the model itself; choose another folder for the output.")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
