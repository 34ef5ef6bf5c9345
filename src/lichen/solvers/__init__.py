"""Ways to choose the numbers: a solver gets a weight and a scheme, and knows no model.

Each file offers ``solve(weight, scheme) -> QuantizedTensor`` and is named in recipes by its name.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from lichen.schemes import Scheme
from lichen.tensor import FloatArray, QuantizedTensor


class Solver(Protocol):
    """What a file of this folder offers."""

    def solve(self, weight: FloatArray, scheme: Scheme) -> QuantizedTensor:
        """Codes and scales for ``weight`` [out, in]; ValueError where it is not finite."""


def solvers() -> list[str]:
    """The names that a recipe may give as its solver."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def solver(name: str) -> Solver:
    """The solver of one of the names in `solvers`."""
    return cast(Solver, importlib.import_module(f"{__name__}.{name}"))
