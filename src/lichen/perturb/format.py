"""Perturbations of the layout: the same words, set differently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lichen.perturb.anatomy import body, docstring
from lichen.perturb.registry import perturbation
from lichen.tasks.task import Task


@perturbation(category="format")
def docstring_to_comments(task: Task, rng: np.random.Generator) -> Task | None:
    """The docstring becomes comment lines, as its source shows them."""
    parts, rest = docstring(task), body(task)
    if parts is None or rest is None:
        return None
    before = task.prompt[: parts.literal_start]
    indent = before[len(before.rstrip(" \t")) :]
    lines = task.prompt[parts.start : parts.end].strip().split("\n")
    comments = [f"# {_dedent(line, indent)}".rstrip() for line in lines]
    text = ("\n" + indent).join(comments)
    prompt = before + text + task.prompt[parts.literal_end :]
    return replace(task, prompt=prompt, reference=prompt + rest)


def _dedent(line: str, indent: str) -> str:
    return line.removeprefix(indent).rstrip()
