"""A recipe laid out on a model: which rule and which format every tensor gets, and how large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lichen import graph as ops
from lichen import models
from lichen.checkpoint import Checkpoint
from lichen.checkpoint.protocol import FLOAT_TYPES
from lichen.checkpoint.quantization_config import (
    EMBEDDING,
    TIED_HEAD,
    LayerFormat,
    quantization_config,
    stored_as,
)
from lichen.checkpoint.view import Untied
from lichen.errors import InputError
from lichen.quantize.rotation import Rotated
from lichen.recipe import Choice, Recipe, Rule, recipe_error
from lichen.schemes import GROUP_SIZES, FloatType, Scheme

_INTEGERS = {"I64", "I32", "I16", "I8", "U8", "BOOL"}
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Assignment:
    """What a recipe means for one model.  Tensors go by their names in the checkpoint.

    InputError for a recipe that does not fit the model, or a model that lacks weights.
    """

    def __init__(self, source: Checkpoint, recipe: Recipe) -> None:
        graph = models.build(source.config)
        _require_weights(source, graph)
        self._given = source
        self.source = _prepared(source, graph, recipe)
        self.recipe = recipe
        #: By layer, of those that had a choice: which of its formats it got, counted from 0.
        self.chosen = dict(recipe.chosen)
        self.graph = models.build(self.source.config)
        self.in_use = {name for name, _ in self.graph.weights()}
        self.linears = linear_layers(self.graph)
        self.tables = embedding_tables(self.graph)
        #: By weight: why it has its format, where the recipe did not name it for all.
        self.why = {self.linears.get(at, at): "this format was chosen before" for at in self.chosen}
        self.rules = recipe.assign(self.linears)
        tied = self.linears.get(TIED_HEAD) in self.tables
        #: The head that reads the table's codes, where they are quantized once for both.
        self.sharing = TIED_HEAD if tied and _same_codes(recipe) else None
        if tied and not self.sharing:
            self.rules[TIED_HEAD] = None  # it is the embedding's
        elif self.sharing and isinstance(head := self.rules[TIED_HEAD], Rule):
            inputs = head.activations or "float activations"
            self.why |= dict.fromkeys(self.tables, f"{TIED_HEAD} reads it too, {inputs}")
        #: Of the tensors that are quantized: layer and rule.  Choices are not among them.
        self.to_quantize: dict[str, tuple[str, Rule]] = {
            self.linears[layer]: (layer, rule)
            for layer, rule in self.rules.items()
            if isinstance(rule, Rule)
        }
        if recipe.embedding is not None:
            rule = recipe.embedding
            self.to_quantize |= {name: (_layer(name), rule) for name in self.tables}
        if not any(self.rules.values()):
            raise recipe_error(recipe.name, ["no layer of this model would be quantized"])
        self._require_whole_groups()
        self._require_shared_scaling()
        self.names = list(self.source.names())
        # A copy of the embedding that a tied model carries for its head is never read.
        if (own := f"{TIED_HEAD}.weight") not in self.linears.values():
            self.names = [name for name in self.names if not name.startswith(own)]

    @property
    def choices(self) -> dict[str, Choice]:
        """The layers that have not been given a format yet."""
        return {layer: r for layer, r in self.rules.items() if isinstance(r, Choice)}

    @property
    def undecided(self) -> list[str]:
        """The weights of `choices`."""
        return [self.linears[layer] for layer in self.choices]

    def settled(self, numbers: Mapping[str, int], why: dict[str, str]) -> Assignment:
        """The same with the choices made: by weight, the number of its format, and why."""
        chosen = {layer: numbers[self.linears[layer]] for layer in self.choices}
        made = Assignment(self._given, self.recipe.settled(chosen))
        made.why |= why
        return made

    @property
    def elements(self) -> int:
        """Weights in all tensors that are written."""
        return sum(map(self.count, self.names))

    def count(self, name: str) -> int:
        """Elements of a tensor."""
        return math.prod(self.source.shape(name))

    def matrix(self, name: str) -> tuple[int, int]:
        """Rows and columns of a weight."""
        rows, columns = self.source.shape(name)
        return rows, columns

    def scheme(self, name: str, rule: Rule | None = None) -> Scheme:
        """The format of a weight that is quantized, scales in the source's own float type.

        Scales of groups are never float32: they are many, and the kernels read 16 bits.
        """
        chosen = (rule or self.to_quantize[name][1]).scheme
        scale_type = self.float_type(name)
        if chosen.trellis:
            return chosen  # whose units are numbers of its own
        if chosen.group_size and scale_type == "float32":
            scale_type = "float16"
        return replace(chosen, scale_type=scale_type)

    def float_type(self, name: str) -> FloatType:
        """The float type that a tensor, or a quantized layer's scales, will be stored in."""
        return FLOAT_TYPES.get(self.source.dtype(name), "float16")

    def stored_bits(self, name: str) -> int:
        """Bits of a tensor in the folder; of one with a choice, the most that it may be given."""
        if name in self.to_quantize:
            scheme = self.scheme(name)
            bits = scheme.stored_bits(*self.matrix(name))
            if self.sharing and name in self.tables:  # its scales are there twice
                bits += bits - scheme.bits * self.count(name)
            return bits
        if rules := self._choice_of(name):
            schemes = [self.scheme(name, rule) for rule in rules]
            return max(scheme.stored_bits(*self.matrix(name)) for scheme in schemes)
        return 8 * self.count(name) * _ITEM_BYTES[self.float_type(name)]

    def predicted_bytes(self) -> int:
        """The size of the weight files, to within their headers."""
        return sum(map(self.stored_bits, self.names)) // 8

    def quantized_bits(self) -> tuple[int, int]:
        """Weights that are quantized, and the bits that they take."""
        bits = sum(map(self.stored_bits, self.to_quantize))
        return sum(map(self.count, self.to_quantize)), bits

    def quantization_config(self) -> dict[str, Any]:
        """The formats of all layers, for config.json."""
        formats = {
            layer: layer_format(rule) if isinstance(rule, Rule) else None
            for layer, rule in self.rules.items()
        }
        if (rule := self.recipe.embedding) is not None:
            formats |= {_layer(name): layer_format(rule) for name in self.tables}
        return quantization_config(formats)

    def _choice_of(self, name: str) -> Sequence[Rule]:
        by_weight = {self.linears[layer]: choice for layer, choice in self.choices.items()}
        return by_weight[name].rules if name in by_weight else ()

    def _require_shared_scaling(self) -> None:
        """Weights that read one input are scaled together, or InputError names them."""
        for names in shared_inputs(self.graph):
            rules = [
                self.to_quantize[name][1] if name in self.to_quantize else None for name in names
            ]
            if len({rule and rule.scaling and str(rule.scaling) for rule in rules}) > 1:
                layers = ", ".join(map(_layer, names))
                raise recipe_error(
                    self.recipe.name, [f"{layers} read one input and need one scaling for it"]
                )

    def _require_whole_groups(self) -> None:
        """Every row is cut into whole groups, or InputError names the layers where that fails."""
        faults = []
        asked = [(name, layer, [rule]) for name, (layer, rule) in self.to_quantize.items()]
        asked += [(self.linears[at], at, list(c.rules)) for at, c in self.choices.items()]
        if self.sharing and isinstance(rule := self.rules[self.sharing], Rule):
            asked.append((self.linears[self.sharing], self.sharing, [rule]))
        for name, layer, rules in asked:
            columns = self.source.shape(name)[1]
            for size in dict.fromkeys(size for rule in rules for size in _group_sizes(rule)):
                if columns % size:
                    fitting = [str(s) for s in GROUP_SIZES if columns % s == 0]
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


def _prepared(source: Checkpoint, graph: ops.Graph, recipe: Recipe) -> Checkpoint:
    """The model as the recipe's rules meet it: its head untied, its values rotated, where asked."""
    source = _with_own_head(source, graph, recipe)
    return Rotated(source, models.build(source.config)) if recipe.rotate else source


def _with_own_head(source: Checkpoint, graph: ops.Graph, recipe: Recipe) -> Checkpoint:
    """The model with a head apart from the embedding's table, where the two come to differ."""
    shared = linear_layers(graph).get(TIED_HEAD)
    rule = recipe.rule(TIED_HEAD)
    if shared not in embedding_tables(graph) or (rule is None and not recipe.rotate):
        return source
    if (isinstance(rule, Rule) and rule.keep_tied) or _same_codes(recipe):
        return source
    return Untied(source, shared, f"{TIED_HEAD}.weight")


def _same_codes(recipe: Recipe) -> bool:
    """Whether a table for head and embedding gets the same codes for both, stored alike."""
    table, head = recipe.embedding, recipe.rule(TIED_HEAD)
    if recipe.rotate or table is None or not isinstance(head, Rule):
        return False
    if head.keep_tied or head.calibrated or TIED_HEAD in recipe.chosen:  # which paid for its bits
        return False
    stored = stored_as(EMBEDDING, layer_format(table)), stored_as(TIED_HEAD, layer_format(head))
    return (table.scheme, table.solver, stored[0]) == (head.scheme, head.solver, stored[1])


def linear_layers(graph: ops.Graph) -> dict[str, str]:
    """The linear layers of a model in running order: their names, and those of their weights."""
    tables = embedding_tables(graph)
    linears = [n.operation for n in graph.nodes if isinstance(n.operation, ops.Linear)]
    return {TIED_HEAD if op.weight in tables else _layer(op.weight): op.weight for op in linears}


def shared_inputs(graph: ops.Graph) -> list[tuple[str, ...]]:
    """The weights of the linear layers, those together that read the same input."""
    readers: dict[int, list[str]] = {}
    for node in graph.nodes:
        if isinstance(node.operation, ops.Linear):
            readers.setdefault(node.operation.x.index, []).append(node.operation.weight)
    return [tuple(names) for names in readers.values()]


def embedding_tables(graph: ops.Graph) -> set[str]:
    """The weights that tokens are looked up in."""
    return {n.operation.weight for n in graph.nodes if isinstance(n.operation, ops.Embedding)}


def layer_format(rule: Rule) -> LayerFormat:
    """What a rule makes of a layer, without the way there."""
    return LayerFormat(rule.scheme, rule.activations)


def _group_sizes(rule: Rule) -> list[int]:
    inputs = rule.activations.group_size if rule.activations else None
    if rule.scheme.trellis:
        inputs = None  # the last group of inputs may be short as that of the weight
    return [size for size in (rule.scheme.whole_columns, inputs) if size]


def _layer(weight: str) -> str:
    return weight.removesuffix(".weight")


def _require_weights(source: Checkpoint, graph: ops.Graph) -> None:
    """Every weight of the graph is there in its shape, or InputError names those that are not."""
    present = set(source.names())
    faults = []
    for name, shape in graph.weights():
        if name not in present:
            faults.append(f"{name} is missing")
        elif source.shape(name) != shape:
            faults.append(f"{name} is {list(source.shape(name))}, config.json asks {list(shape)}")
        elif source.dtype(name) in _INTEGERS and not _is_quantized(source.config):
            faults.append(f"{name} is {source.dtype(name)}, not a float type")
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"{source.path}: {'; '.join(faults[:5])}{more}.")


def _is_quantized(config: Mapping[str, Any]) -> bool:
    return config.get("quantization_config") is not None
