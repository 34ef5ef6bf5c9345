"""``lichen recipes``: the recipes that come with lichen, and what one means for a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lichen.cli import command as shared
from lichen.cli.output import emit, emit_columns, emit_json

if TYPE_CHECKING:
    from lichen.quantize.explain import Explained


@shared.command_group
def command() -> None:
    """List, show and explain recipes."""


@shared.subcommand("lichen recipes list", group=command)
def list_() -> None:
    """The recipes that go by a name."""
    from lichen.recipe import load_recipe, presets

    names = presets()
    if shared.wants_json():
        looks = {name: load_recipe(name).calibrated for name in names}
        emit_json(
            [
                {"name": name, "description": described, "calibrated": looks[name]}
                for name, described in names.items()
            ]
        )
        return
    emit_columns([("name", "what it does"), *names.items()])


@shared.subcommand("lichen recipes show int4", group=command)
@click.argument("recipe")
def show(recipe: str) -> None:
    """A recipe's text, to read or to begin one's own with."""
    from lichen.recipe import load_recipe

    found = load_recipe(recipe)
    if shared.wants_json():
        emit_json({"name": found.name, "description": found.description, "text": found.text})
    else:
        emit(found.text.rstrip("\n"))


@shared.subcommand("lichen recipes explain int4 qwen2.5-coder-0.5b", group=command)
@click.argument("recipe")
@click.argument("model", required=False)
def explain(recipe: str, model: str | None) -> None:
    """What RECIPE makes of each layer of MODEL: format, bits, error, and why.

    A quantized folder in place of both tells what was made of its layers; errors that depend on
    inputs are known only then."""
    from lichen.checkpoint.registry import default_cache, resolve
    from lichen.quantize.explain import explain_folder, explain_recipe
    from lichen.recipe import load_recipe

    if model is None:
        found = explain_folder(Path(recipe))
    else:
        path = resolve(model, cache=default_cache())
        with shared.progress().step("Measuring errors") as update:
            found = explain_recipe(load_recipe(recipe), path, progress=update)
    if shared.wants_json():
        emit_json(found)
    else:
        _tell(found)


def _tell(found: Explained) -> None:
    columns = {
        "layer": [layer.name for layer in found.layers],
        "shape": [f"{layer.rows} x {layer.columns}" for layer in found.layers],
        "bits": [f"{layer.bits:.2f}" for layer in found.layers],
        "error": [_share(layer.error, layer.unknown) for layer in found.layers],
        "of output": [_share(layer.output_error) for layer in found.layers],
        "format": [layer.format for layer in found.layers],
        "solver": [layer.solver for layer in found.layers],
        "why": [layer.why for layer in found.layers],
    }
    if all(layer.output_error is None for layer in found.layers):
        del columns["of output"]  # no inputs were seen
    emit_columns([tuple(columns), *zip(*columns.values(), strict=True)])
    for offered in dict.fromkeys(layer.offered for layer in found.layers if layer.offered):
        emit("\n  ".join((f"one of {len(offered)} formats:", *offered)))
    budget = "" if found.budget is None else f", {found.budget:.2f} at most where there is a choice"
    emit(
        f"{found.recipe}: {found.quantized_bits:.2f} bits per weight in the quantized layers"
        f"{budget}, {found.bits:.2f} in all, {found.bytes / 1e6:.0f} MB"
    )


def _share(error: float | None, unknown: str = "") -> str:
    return unknown or "-" if error is None else f"{error:.2e}"
