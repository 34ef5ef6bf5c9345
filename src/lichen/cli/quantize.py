"""``lichen quantize``: a model and a recipe in, a compressed-tensors folder out."""

from __future__ import annotations

from pathlib import Path

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.output import emit, emit_json


@shared.subcommand("lichen quantize qwen2.5-coder-0.5b --recipe int8 --out model-int8")
@click.argument("model")
@click.option(
    "--recipe",
    default="int8",
    show_default=True,
    metavar="R",
    help="A recipe's name, or a .toml file.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@options.force
def command(model: str, recipe: str, out: Path, force: bool) -> None:
    """Quantize MODEL into a folder.

    It is in the compressed-tensors format, which vLLM and transformers load too."""
    from lichen.check import quantize

    progress = shared.progress()
    with progress.step(f"Quantizing by {recipe}") as update:
        report = quantize(
            model, recipe, out=out, cache=shared.cache_folder(), force=force, progress=update
        )
    made = report.manifest
    if shared.wants_json():
        emit_json({"path": str(report.path), "seconds": report.seconds, "manifest": made})
        return
    emit(
        f"{report.path}: {len(made.layers)} layers by {made.recipe.name}, "
        f"{made.source.bytes / 1e6:.0f} MB -> {made.bytes / 1e6:.0f} MB, "
        f"{made.bits_per_weight:.2f} bits per weight"
    )
