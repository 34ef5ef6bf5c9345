"""Perturbations: the same task put differently, to see whether a model still solves it."""

from __future__ import annotations

# Importing the file of a category registers its perturbations.
from lichen.perturb import docstring, format, function_name, syntax
from lichen.perturb.registry import Category, Perturbation, nominal, perturb, perturbations

__all__ = [
    "Category",
    "Perturbation",
    "docstring",
    "format",
    "function_name",
    "nominal",
    "perturb",
    "perturbations",
    "syntax",
]
