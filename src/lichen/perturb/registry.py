"""The list of perturbations, and the rules that hold for each of them.

A perturbation changes how a task is put, never what it asks for (ReCode: Wang et al., arXiv
2212.10264).  It takes the task and a stream of random numbers of its own, and gives the changed
task, its reference and tests changed alongside, or None where it would change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lichen.errors import InputError
from lichen.perturb.anatomy import half_body
from lichen.tasks.task import Task

Category = Literal["docstring", "function_name", "syntax", "format"]
Transform = Callable[[Task, np.random.Generator], Task | None]


@dataclass(frozen=True)
class Perturbation:
    """One way to put a task differently; ``random`` ones differ from seed to seed."""

    name: str
    category: Category
    random: bool
    description: str
    transform: Transform


_PERTURBATIONS: dict[str, Perturbation] = {}


def perturbation(*, category: Category, random: bool = False) -> Callable[[Transform], Transform]:
    """Register a function under its own name; its docstring's first line describes it."""

    def register(transform: Transform) -> Transform:
        name = transform.__name__
        description = (transform.__doc__ or "").strip().splitlines()[0]
        _PERTURBATIONS[name] = Perturbation(name, category, random, description, transform)
        return transform

    return register


def perturbations() -> dict[str, Perturbation]:
    """All perturbations by name, category by category in the paper's order."""
    order = get_args(Category)
    ranked = sorted(_PERTURBATIONS.values(), key=lambda found: order.index(found.category))
    return {found.name: found for found in ranked}


def perturb(task: Task, name: str, seed: int = 0) -> Task | None:
    """The task put differently, or None where the perturbation does not apply to it.

    The random stream belongs to (task, name, seed) alone, so neither other tasks nor their order
    change the outcome.  Compare with `nominal`, not with the task itself.
    """
    perturbation = _get(name)
    baseline = nominal(task, name)
    if baseline is None:
        return None
    changed = perturbation.transform(baseline, _stream(task, name, seed))
    return None if changed is None or changed.prompt == baseline.prompt else changed


def nominal(task: Task, name: str) -> Task | None:
    """The unperturbed task that a perturbation's outcome is to be compared with.

    Syntax perturbations change code, so both sides get the first half of the reference body in
    their prompt, as in ReCode; None where there is no reference body to take it from.
    """
    return half_body(task) if _get(name).category == "syntax" else task


def _get(name: str) -> Perturbation:
    if name not in _PERTURBATIONS:
        known = ", ".join(perturbations())
        raise InputError(f"no perturbation {name!r}: give one of {known}")
    return _PERTURBATIONS[name]


def _stream(task: Task, name: str, seed: int) -> np.random.Generator:
    key = hashlib.sha256(f"{task.id}\0{name}\0{seed}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "big")))
