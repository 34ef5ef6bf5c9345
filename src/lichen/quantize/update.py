"""A new version of a model, quantized as the old one was: what to repeat, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lichen.checkpoint import manifest
from lichen.checkpoint.manifest import Manifest
from lichen.code_text import CodeText
from lichen.errors import InputError
from lichen.recipe import Calibration, Recipe, parse_recipe

#: A layer is worth a word when its error grew by more than this share.
NOTABLE = 0.1


@dataclass(frozen=True)
class Changes:
    """What differs between two folders made by one recipe: old and new of each.

    source  their sources' descriptions
    bytes   of all weight files
    layers  whose error grew notably, most first: name, old error, new error
    appeared, vanished  layers that only one of them has
    """

    source: tuple[str, str]
    same_source: bool
    bytes: tuple[int, int]
    layers: list[tuple[str, float, float]]
    appeared: list[str]
    vanished: list[str]


def recipe_of(folder: Path) -> tuple[Recipe, Manifest]:
    """The recipe that a folder was made by, its formats where there was a choice as they fell.

    InputError where the folder has no manifest, or one that does not belong to its files.
    """
    made = manifest.read(folder)
    if made is None:
        raise InputError(
            f"{folder}: is not a whole folder made by `lichen quantize` (its {manifest.FILE_NAME}"
            " is missing or does not fit the weight files)."
        )
    recipe = parse_recipe(made.recipe.text, made.recipe.name)
    if (seen := made.calibration) is not None:
        size = Calibration(seen.sequences, seen.length, seen.seed)
        recipe = replace(recipe, calibration=size)
    return recipe.settled(made.chosen) if made.chosen else recipe, made


def require_same_text(made: Manifest, text: CodeText) -> None:
    """The text that inputs are seen on is the one of then, or InputError says which that was."""
    seen = made.calibration
    if seen is not None and seen.sha256 != text.sha256:
        raise InputError(
            f"the folder was calibrated on {seen.name} (SHA-256 {seen.sha256[:12]}...), and here is"
            f" {text.name} ({text.sha256[:12]}...); give the same text with --calibration."
        )


def changes(old: Manifest, new: Manifest) -> Changes:
    """Compare what one recipe made of two versions of a model."""
    before = {layer.name: layer.error for layer in old.layers}
    after = {layer.name: layer.error for layer in new.layers}
    grown = [
        (name, before[name], error)
        for name, error in after.items()
        if name in before and error > (1 + NOTABLE) * before[name]
    ]
    return Changes(
        source=(old.source.description, new.source.description),
        same_source=old.source.digest == new.source.digest,
        bytes=(old.bytes, new.bytes),
        layers=sorted(grown, key=lambda layer: layer[1] / layer[2] if layer[2] else 1),
        appeared=[name for name in after if name not in before],
        vanished=[name for name in before if name not in after],
    )
