"""Perturbations of the function's name; signature, docstring, reference and tests move together."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from lichen.perturb.registry import perturbation
from lichen.tasks.task import Task


@perturbation(category="function_name")
def camel_case(task: Task, rng: np.random.Generator) -> Task | None:
    """snake_case names become camelCase, and camelCase names snake_case."""
    return rename(task, _other_case(task.entry_point))


def _other_case(name: str) -> str:
    """The name in the other of the two cases; a single word has only one."""
    if "_" in name.strip("_"):
        return re.sub(r"(?<=[^_])_+([^_])", lambda match: match[1].upper(), name)
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def rename(task: Task, name: str) -> Task | None:
    """The task with another entry point; None where the name is the same, or is taken."""
    old = task.entry_point
    everything = "\n".join([task.reference, task.test, task.preamble])
    if name == old or re.search(rf"\b{re.escape(name)}\b", everything):
        return None
    pattern = re.compile(rf"\b{re.escape(old)}\b")
    return replace(
        task,
        prompt=pattern.sub(name, task.prompt),
        entry_point=name,
        reference=pattern.sub(name, task.reference),
        test=pattern.sub(name, task.test),
        preamble=pattern.sub(name, task.preamble),
    )
