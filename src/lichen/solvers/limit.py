"""What values the options of solvers may have: said once, for recipes and for calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: A search of more tries would take days, and the core counts them in 32 bits.
_MOST_TRIES = 1000


@dataclass(frozen=True)
class Limit:
    """The values that an option may have, in words ("0 to 1") and as a test; NaN passes none."""

    words: str
    allows: Callable[[float], bool]


def tries(least: int) -> Limit:
    """How often something is tried: ``least`` times or more."""
    return Limit(f"{least} to {_MOST_TRIES}", lambda count: least <= count <= _MOST_TRIES)


def require(limits: Mapping[str, Limit], **options: Any) -> None:
    """ValueError for the first option that its limit does not allow."""
    for name, value in options.items():
        if not limits[name].allows(value):
            raise ValueError(f"{name} is {value}, not {limits[name].words}")
