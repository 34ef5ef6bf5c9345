"""What a recipe means for each layer of a model, or came to in a folder that it made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lichen import models
from lichen.checkpoint import manifest, open_checkpoint
from lichen.checkpoint.manifest import Manifest
from lichen.errors import InputError
from lichen.quantize.assignment import Assignment, layer_format, linear_layers
from lichen.quantize.layers import quantized, read_floats
from lichen.quantize.progress import Counting, Progress
from lichen.recipe import Choice, Recipe, Rule


@dataclass(frozen=True)
class LayerReport:
    """One layer: stored bits a weight, relative squared errors of weight and output where known."""

    name: str
    rows: int
    columns: int
    bits: float
    error: float | None
    output_error: float | None
    format: str
    solver: str
    why: str


@dataclass(frozen=True)
class Explained:
    """All layers; bits per weight of the quantized ones and of everything, and bytes in all."""

    recipe: str
    layers: list[LayerReport]
    quantized_bits: float
    bits: float
    bytes: int


def explain_recipe(recipe: Recipe, model: Path, *, progress: Progress | None = None) -> Explained:
    """What ``recipe`` would make of a model; errors are measured where no inputs are needed."""
    work = Assignment(open_checkpoint(model), recipe)
    done = Counting(progress, work.elements)
    layers = []
    for layer, weight in work.linears.items():
        layers.append(_planned(work, layer, work.rules[layer], weight))
        done.add(work.count(weight))
    tables = sorted(work.tables & work.to_quantize.keys())
    layers += [_planned(work, *work.to_quantize[table], table) for table in tables]
    total = work.predicted_bytes()
    weights, bits = work.quantized_bits()
    average = bits / weights if weights else float(recipe.bits or 0)
    return Explained(recipe.name, layers, average, 8 * total / work.elements, total)


def explain_folder(folder: Path) -> Explained:
    """What was made of the layers of a quantized folder."""
    made = manifest.read(folder)
    if made is None:
        raise InputError(
            f"{folder}: is no folder made by `lichen quantize`; give such a folder, or a recipe and"
            " a model."
        )
    order = list(linear_layers(models.build(open_checkpoint(folder).config)))
    return Explained(
        made.recipe.name,
        _recorded(made, order),
        made.quantized_bits_per_weight,
        made.bits_per_weight,
        made.bytes,
    )


def _recorded(made: Manifest, order: Sequence[str]) -> list[LayerReport]:
    """In running order; what is no linear layer comes last."""
    place = {layer: number for number, layer in enumerate(order)}
    layers = sorted(made.layers, key=lambda layer: place.get(layer.name, len(place)))
    why = f"recipe {made.recipe.name}"
    return [
        LayerReport(
            name=layer.name,
            rows=layer.rows,
            columns=layer.columns,
            bits=layer.bits or made.quantized_bits_per_weight,
            error=layer.error,
            output_error=layer.output_error,
            format=layer.format,
            solver=layer.solver if layer.scaling is None else f"{layer.scaling}, {layer.solver}",
            why=layer.why or why,
        )
        for layer in layers
    ]


def _planned(work: Assignment, layer: str, rule: Rule | Choice | None, weight: str) -> LayerReport:
    rows, columns = work.matrix(weight)
    is_table = weight in work.tables and rule is not None and layer != work.sharing
    why = _matched(work.recipe, layer, is_table=is_table)
    if work.sharing and weight in work.tables:
        why += ", its codes are the embedding's" if layer == work.sharing else ", the head's too"
    if work.recipe.rotate:
        why += ", rotated"
    error = None
    if isinstance(rule, Rule) and not rule.calibrated:
        error = quantized(work, weight, read_floats(work, weight))[1].error
    elif isinstance(rule, Rule):
        why += "; its error is known once inputs are seen"
    return LayerReport(
        name=layer,
        rows=rows,
        columns=columns,
        bits=work.stored_bits(weight) / (rows * columns),
        error=error,
        output_error=None,
        format=_format(rule),
        solver=_solver(rule),
        why=why,
    )


def _matched(recipe: Recipe, layer: str, *, is_table: bool) -> str:
    """What of the recipe decided on a layer."""
    if is_table:
        return "the recipe's embedding"
    pattern = recipe.pattern(layer)
    return "no pattern matches" if pattern is None else f"matches {pattern!r}"


def _format(rule: Rule | Choice | None) -> str:
    match rule:
        case None:
            return "stays as it is"
        case Choice(rules):
            return " or ".join(dict.fromkeys(str(r.scheme) for r in rules))
        case _:
            return str(layer_format(rule))


def _solver(rule: Rule | Choice | None) -> str:
    if not isinstance(rule, Rule):
        return "-"
    return str(rule.solver) if rule.scaling is None else f"{rule.scaling}, {rule.solver}"
