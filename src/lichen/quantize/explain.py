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
from lichen.quantize.layers import read_floats, solved
from lichen.quantize.progress import Counting, Progress
from lichen.recipe import Choice, Recipe, Rule
from lichen.solvers import native

#: Why an error is not known before the model is quantized.
UNSEEN = "needs calibration"


@dataclass(frozen=True)
class LayerReport:
    """One layer: stored bits a weight, relative squared errors of weight and output where known.

    bits     of a layer whose format is still to be chosen: what it may take on average
    unknown  why the weight's error is not known, in words; "" where it is, or nothing is rounded
    offered  the formats to choose from, where that is still to be done
    """

    name: str
    rows: int
    columns: int
    bits: float
    error: float | None
    output_error: float | None
    format: str
    solver: str
    why: str
    unknown: str = ""
    offered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explained:
    """All layers; bits per weight of the quantized ones and of everything, and bytes in all.

    ``budget`` is the average bits that layers whose format is still to be chosen may take, None
    where there are none; the other figures take it as spent.
    """

    recipe: str
    layers: list[LayerReport]
    quantized_bits: float
    bits: float
    bytes: int
    budget: float | None = None


def explain_recipe(recipe: Recipe, model: Path, *, progress: Progress | None = None) -> Explained:
    """What ``recipe`` would make of a model; errors are measured where no inputs are needed."""
    work = Assignment(open_checkpoint(model), recipe)
    errors, bits = _errors(work, progress), _bits(work)
    planned = [(layer, work.rules[layer], weight) for layer, weight in work.linears.items()]
    tables = sorted(work.tables & work.to_quantize.keys())
    planned += [(*work.to_quantize[table], table) for table in tables]
    quantized = [*work.to_quantize, *work.undecided]
    total = round(sum(bits.values())) // 8
    return Explained(
        recipe=recipe.name,
        layers=[
            _planned(work, layer, rule, weight, bits[weight], errors.get(weight))
            for layer, rule, weight in planned
        ],
        quantized_bits=sum(map(bits.__getitem__, quantized)) / sum(map(work.count, quantized)),
        bits=8 * total / work.elements,
        bytes=total,
        budget=recipe.bits if work.choices else None,
    )


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


def _bits(work: Assignment) -> dict[str, float]:
    """What every tensor takes; of an undecided one its share of the budget."""
    bits: dict[str, float] = {name: work.stored_bits(name) for name in work.names}
    for name in work.undecided:
        assert work.recipe.bits is not None
        bits[name] = min(bits[name], work.recipe.bits * work.count(name))
    return bits


def _errors(work: Assignment, progress: Progress | None) -> dict[str, float]:
    """By weight, each once: the errors that can be known without inputs."""
    blind = {name: rule for name, (_, rule) in work.to_quantize.items() if rule.blind}
    done = Counting(progress, sum(map(work.count, blind)))
    errors = {}
    for name, rule in blind.items():
        errors[name] = _error(work, name, rule)
        done.add(work.count(name))
    return errors


def _error(work: Assignment, name: str, rule: Rule) -> float:
    weight = read_floats(work, name)
    made = solved(work, name, weight, work.scheme(name), rule.solver)
    return native.relative_error(weight, made)


def _planned(
    work: Assignment,
    layer: str,
    rule: Rule | Choice | None,
    weight: str,
    bits: float,
    error: float | None,
) -> LayerReport:
    rows, columns = work.matrix(weight)
    return LayerReport(
        name=layer,
        rows=rows,
        columns=columns,
        bits=bits / (rows * columns),
        error=error if rule else None,
        output_error=None,
        format=_format(rule),
        solver=_solver(rule),
        why=_why(work, layer, rule, weight),
        unknown=UNSEEN if rule and error is None else "",
        offered=_offered(rule),
    )


def _why(work: Assignment, layer: str, rule: Rule | Choice | None, weight: str) -> str:
    is_table = weight in work.tables and rule is not None and layer != work.sharing
    why = _matched(work.recipe, layer, is_table=is_table)
    if work.sharing and weight in work.tables:
        why += ", its codes are the embedding's" if layer == work.sharing else ", the head's too"
    if work.recipe.rotate:
        why += ", rotated"
    if isinstance(rule, Choice):
        why += f"; the format by measured sensitivity, {work.recipe.bits:g} bits on average"
    elif rule and rule.static:
        why += "; the scale of its inputs is known once they are seen"
    return why


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
            return f"one of {len(rules)} formats"
        case _:
            return str(layer_format(rule))


def _offered(rule: Rule | Choice | None) -> tuple[str, ...]:
    return tuple(str(layer_format(each)) for each in rule.rules) if isinstance(rule, Choice) else ()


def _solver(rule: Rule | Choice | None) -> str:
    if rule is None:
        return "-"
    if isinstance(rule, Choice):
        rule = rule.rules[0]  # they differ in the weights' format alone
    return str(rule.solver) if rule.scaling is None else f"{rule.scaling}, {rule.solver}"
