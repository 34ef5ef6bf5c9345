"""The marks of difficulty that the files of `basics` put on their tasks.

easy    one expression or a plain loop; a model of 0.5B parameters should solve most
medium  two ideas joined, or edge cases that the docstring names
hard    an algorithm, a careful parse, or a state to keep; small models mostly fail
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def easy(function: F) -> F:
    """Mark a task as easy."""
    return function


def medium(function: F) -> F:
    """Mark a task as medium."""
    return function


def hard(function: F) -> F:
    """Mark a task as hard."""
    return function
