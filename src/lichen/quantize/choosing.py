"""Which format each layer gets where a recipe leaves a choice, by what it costs to be coarse.

Layers that read one input get the same format, since other engines run them as one product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lichen.engine.sampling import log_softmax
from lichen.engine.variants import Variant, Variants
from lichen.errors import InputError
from lichen.quantize.assignment import Assignment, shared_inputs
from lichen.quantize.budget import Offer, require_enough, spend
from lichen.quantize.layers import kept, read_floats, solved
from lichen.quantize.progress import Told
from lichen.recipe import Choice, Method, Rule, recipe_error
from lichen.row_blocks import map_row_blocks
from lichen.solvers import calibrated, native
from lichen.tensor import Quantized

Float32 = npt.NDArray[np.float32]

#: What stands for a solver that has to see inputs while formats are compared.
_WITHOUT_INPUTS = Method("mse")

#: Tokens that divergence is measured on, for every group of layers.
TOKENS = 512

#: Groups that are measured side by side, which reads the model once for all of them.
_TOGETHER = 16


@dataclass(frozen=True)
class Group:
    """Weights that read one input, by their names, and the formats they may have."""

    names: tuple[str, ...]
    choice: Choice


def choose(
    work: Assignment,
    ids: npt.NDArray[np.int32],
    *,
    isa: str,
    threads: int,
    known: dict[str, float],
    measured: Callable[[], None],
    told: Told,
) -> Assignment:
    """Spend the recipe's bits where they lower the divergence from the original most.

    ids       text that it is measured on, at most 512 tokens
    known     divergence by the first weight of a group; what is measured is added to it
    measured  called after each addition

    Gives the same work with one format for every layer.
    """
    found = list(groups(work))
    budget = _budget(work, found)
    smallest = (_bits(work, group, group.choice.rules[_coarsest(work, group)]) for group in found)
    require_enough(budget, sum(smallest))  # before minutes are spent on measuring
    unknown = [group for group in found if group.names[0] not in known]
    variants = Variants(
        work.graph,
        lambda name: kept(work, name, read_floats(work, name))[0],
        ids,
        isa=isa,
        threads=threads,
    )
    for divergences in _measured(work, variants, unknown, told):
        known |= divergences
        measured()
    offers = {group.names[0]: _offer(work, group, known[group.names[0]]) for group in found}
    taken = spend(offers, budget)
    numbers = {name: taken[group.names[0]] for group in found for name in group.names}
    return work.settled(numbers, {n: why for g in found for n, why in _why(g, known, taken)})


def groups(work: Assignment) -> Iterator[Group]:
    """The layers with a choice, those together that read one input; InputError if they differ."""
    choices = {work.linears[layer]: choice for layer, choice in work.choices.items()}
    for names in shared_inputs(work.graph):
        having = [choices.get(name) for name in names]
        if any(choice != having[0] for choice in having):
            raise recipe_error(
                work.recipe.name, [f"{', '.join(names)} read one input and need the same choices"]
            )
        if having[0] is not None:
            yield Group(names, having[0])


def _measured(
    work: Assignment, variants: Variants, found: Sequence[Group], told: Told
) -> Iterator[dict[str, float]]:
    """The divergences that groups cause, each by itself, in its coarsest format; some at a time."""
    each = [_variant(work, group) for group in found]
    progress = told.counting(sum(map(variants.work, each)))
    for begin in range(0, len(found), _TOGETHER):
        together = slice(begin, begin + _TOGETHER)
        sums = np.zeros(len(found[together]))
        tokens = 0
        for original, others in variants.logits(each[together], progress.add):
            if not np.isfinite(original).all():
                raise InputError(
                    f"{work.source.path}: logits are not finite on the calibration text, though the"
                    " weights are; this model cannot be calibrated."
                )
            p = log_softmax(original)
            sums += [_divergence(p, logits) for logits in others]
            tokens += len(original)
        names = (group.names[0] for group in found[together])
        yield dict(zip(names, map(float, sums / tokens), strict=True))


def _variant(work: Assignment, group: Group) -> Variant:
    """The model with a group in its coarsest format."""
    coarse = group.choice.rules[_coarsest(work, group)]
    return Variant(
        frozenset(group.names),
        lambda: {name: _solved(work, name, coarse) for name in group.names},
    )


def _divergence(p: Float32, logits: Float32) -> float:
    """KL(p, q) in nats, summed over tokens, from log-probabilities of p, and logits of q."""
    q = log_softmax(logits)

    def of_tokens(rows: slice) -> npt.NDArray[np.float64]:
        difference = p[rows] - q[rows]
        each: npt.NDArray[np.float64] = np.einsum(
            "tv,tv->t", np.exp(p[rows]), difference, dtype=np.float64
        )
        return each

    kl = np.concatenate(map_row_blocks(of_tokens, p.shape))
    return float(np.maximum(kl, 0).sum())


def _budget(work: Assignment, found: Sequence[Group]) -> float:
    """Bits for all groups together."""
    assert work.recipe.bits is not None
    return work.recipe.bits * sum(work.count(name) for group in found for name in group.names)


def _offer(work: Assignment, group: Group, sensitivity: float) -> Offer:
    """What the group takes and costs in each format."""
    coarsest = _coarsest(work, group)
    errors = [_error(work, group, rule) for rule in group.choice.rules]
    most = errors[coarsest] or 1.0  # where the coarsest is exact, as for zeros, nothing costs
    costs = [sensitivity * error / most for error in errors]
    return Offer(tuple(_bits(work, group, rule) for rule in group.choice.rules), tuple(costs))


def _coarsest(work: Assignment, group: Group) -> int:
    """The number of the smallest format."""
    sizes = [_bits(work, group, rule) for rule in group.choice.rules]
    return sizes.index(min(sizes))


def _bits(work: Assignment, group: Group, rule: Rule) -> int:
    return sum(work.scheme(n, rule).stored_bits(*work.matrix(n)) for n in group.names)


def _error(work: Assignment, group: Group, rule: Rule) -> float:
    """The squared error of the group's weights, each over its own sum of squares."""
    return sum(
        native.relative_error(read_floats(work, name), _solved(work, name, rule))
        for name in group.names
    )


def _solved(work: Assignment, name: str, rule: Rule) -> Quantized:
    """A weight in a format, without inputs: to compare formats, not to be kept."""
    blind = not calibrated(rule.solver.name, rule.solver.options)
    method = rule.solver if blind else _WITHOUT_INPUTS
    return solved(work, name, read_floats(work, name), work.scheme(name, rule), method)


def _why(group: Group, known: dict[str, float], taken: dict[str, int]) -> Iterator[tuple[str, str]]:
    first = group.names[0]
    scheme = group.choice.rules[taken[first]].scheme
    text = f"{scheme.bits} bits: coarsest, its group alone costs {known[first]:.2g} nats"
    for name in group.names:
        yield name, text
