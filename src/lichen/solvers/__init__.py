"""Ways to choose the numbers: they get a weight, statistics of its input, a scheme; no model.

A file of this folder offers one of two things, and recipes name it:

- ``solve(weight, scheme, inputs=None, **options) -> Quantized``, a solver;
- ``balance(weights, scheme, inputs, activations, **options)``, a scaling: numbers [in] that the
  input is divided by, and the columns of all weights that read it multiplied by, so that the
  product is the same.

``OPTIONS`` has the options of either with their defaults, ``LIMITS`` the values that numbers among
them may have (`lichen.solvers.limit`), ``NEEDS`` what it has to know of inputs beyond their sizes
(`lichen.solvers.statistics`), and ``CALIBRATED_OPTIONS`` those that need sizes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from lichen.schemes import ActivationScheme, Scheme
from lichen.tensor import FloatArray, Quantized

if TYPE_CHECKING:
    from lichen.solvers.limit import Limit
    from lichen.solvers.statistics import InputStatistics

#: What may choose the scale of static activations (`lichen.solvers.ranges`).
Range = Literal["absmax", "percentile", "mse", "entropy"]
RANGES: tuple[Range, ...] = get_args(Range)


class Solver(Protocol):
    """What a file with a solver offers."""

    def solve(
        self,
        weight: FloatArray,
        scheme: Scheme,
        inputs: InputStatistics | None = None,
        **options: Any,
    ) -> Quantized:
        """Codes and scales for ``weight`` [out, in]; ValueError where it is not finite."""


class Scaling(Protocol):
    """What a file with a scaling offers."""

    def balance(
        self,
        weights: Sequence[FloatArray],
        scheme: Scheme,
        inputs: InputStatistics,
        activations: ActivationScheme | None = None,
        **options: Any,
    ) -> FloatArray:
        """Factors [in], all above 0, for weights [out, in] that read the same input.

        ``activations`` is how that will be quantized; None: not at all.
        """


def solvers() -> list[str]:
    """The names that a recipe may give as its solver."""
    return [name for name in _names() if hasattr(_module(name), "solve")]


def scalings() -> list[str]:
    """The names that a recipe may give as its scaling."""
    return [name for name in _names() if hasattr(_module(name), "balance")]


def solver(name: str) -> Solver:
    """The solver of one of the names in `solvers`."""
    return cast(Solver, _module(name))


def scaling(name: str) -> Scaling:
    """The scaling of one of the names in `scalings`."""
    return cast(Scaling, _module(name))


def options(name: str) -> Mapping[str, Any]:
    """The options of a solver or scaling, with their defaults."""
    return cast("Mapping[str, Any]", getattr(_module(name), "OPTIONS", {}))


def limits(name: str) -> Mapping[str, Limit]:
    """The values that options of a solver or scaling may have; any, where one is not there."""
    return cast("Mapping[str, Limit]", getattr(_module(name), "LIMITS", {}))


def needs(name: str) -> frozenset[str]:
    """What a solver or scaling has to know of inputs."""
    return cast("frozenset[str]", getattr(_module(name), "NEEDS", frozenset()))


def calibrated(name: str, chosen: Mapping[str, Any]) -> bool:
    """Whether a solver, with the options that were chosen, has to see inputs at all."""
    asking = cast("frozenset[str]", getattr(_module(name), "CALIBRATED_OPTIONS", frozenset()))
    return bool(needs(name)) or any(chosen.get(option) for option in asking)


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
