"""``lichen quantize``: a model and a recipe in, a compressed-tensors folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.output import emit, emit_json

if TYPE_CHECKING:
    from lichen.checkpoint.manifest import Manifest
    from lichen.quantize import QuantizeReport
    from lichen.quantize.update import Changes


@shared.subcommand("lichen quantize qwen2.5-coder-0.5b --recipe int8 --out model-int8")
@click.argument("model")
@click.option(
    "--recipe",
    metavar="R",
    help="A name from `lichen recipes list`, or a .toml file.  [default: int8]",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--like",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Repeat what a quantized folder was made by, and tell what changed.",
)
@options.calibration
@click.option("--requantize", is_flag=True, help="Take a MODEL that is quantized already.")
@options.compute
@options.force
def command(
    model: str,
    recipe: str | None,
    out: Path,
    like: Path | None,
    calibration: Path | None,
    calibration_sequences: int | None,
    calibration_length: int | None,
    requantize: bool,
    threads: int | None,
    isa: str | None,
    force: bool,
) -> None:
    """Quantize MODEL into a folder.

    It is in the compressed-tensors format. transformers loads it, which is tested for every preset;
    vLLM was not tried. A recipe that looks at inputs takes minutes; interrupted, it goes on when
    the same command is given again."""
    from lichen.one_model import quantize

    if like is not None:
        _refuse_beside_like(recipe, calibration_sequences, calibration_length)
    old = _manifest(like)  # now, for --out may replace the folder
    progress = shared.progress()
    with progress.step(f"Quantizing by {recipe or 'int8'}" if not like else "Quantizing") as update:
        report = quantize(
            model,
            "int8" if recipe is None else recipe,
            out=out,
            like=like,
            calibration=calibration,
            calibration_sequences=calibration_sequences,
            calibration_length=calibration_length,
            requantize=requantize,
            threads=threads,
            isa=isa,
            force=force,
            progress=update,
            say=progress.say,
        )
    changes = _changes(old, report)
    if shared.wants_json():
        found = vars(report) | {"path": str(report.path)}
        emit_json(found | ({"changes": changes} if changes else {}))
        return
    _tell(report)
    if changes:
        _tell_changes(changes)


def _refuse_beside_like(recipe: str | None, sequences: int | None, length: int | None) -> None:
    """The folder says these; the text itself may be given, for it is none of the folder's."""
    given = {
        "--recipe": recipe,
        "--calibration-sequences": sequences,
        "--calibration-length": length,
    }
    if others := [option for option, value in given.items() if value is not None]:
        raise click.UsageError(
            f"--like takes recipe and calibration of a folder; leave {', '.join(others)} out."
        )


def _tell(report: QuantizeReport) -> None:
    made = report.manifest
    emit(
        f"{report.path}: {len(made.layers)} layers by {made.recipe.name}, "
        f"{made.source.bytes / 1e6:.0f} MB -> {made.bytes / 1e6:.0f} MB, "
        f"{made.bits_per_weight:.2f} bits per weight ({made.quantized_bits_per_weight:.2f} in the"
        f" quantized layers), {report.seconds:.0f} s"
    )
    if (seen := made.calibration) is not None:
        emit(f"inputs seen on {seen.sequences} x {seen.length} tokens of {seen.name}")


def _manifest(like: Path | None) -> Manifest | None:
    if like is None:
        return None
    from lichen.quantize.update import recipe_of

    return recipe_of(like)[1]


def _changes(old: Manifest | None, report: QuantizeReport) -> Changes | None:
    if old is None:
        return None
    from lichen.quantize.update import changes

    return changes(old, report.manifest)


def _tell_changes(changes: Changes) -> None:
    """The old folder against the new one."""
    if changes.same_source:
        emit("the model is the one that the old folder was made from")
    else:
        emit(f"source: {changes.source[0]} -> {changes.source[1]}")
    emit(f"size: {changes.bytes[0] / 1e6:.1f} MB -> {changes.bytes[1] / 1e6:.1f} MB")
    for name, layers in (("new", changes.appeared), ("gone", changes.vanished)):
        if layers:
            emit(f"{name} layers: {', '.join(layers)}")
    emit(f"layers with an error more than a tenth larger: {len(changes.layers)}")
    for name, before, after in changes.layers[:10]:
        emit(f"  {name}  {before:.3g} -> {after:.3g}")
