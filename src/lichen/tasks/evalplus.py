"""EvalPlus's fields of a task (Liu et al., arXiv 2305.01210), and the test that they make.

``base_input`` and ``plus_input`` are lists of argument lists; the right answers are the
reference's, compared within ``atol``.  The other fields (``contract``: what inputs are legal) are
not needed to judge.  HumanEval+ has HumanEval's prompts.  MBPP+ has no signature in its prompts,
and its inputs have been through JSON: ``assertion``, MBPP's own asserts with the same inputs as
``base_input``, tells which lists were tuples or sets and which texts were numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from lichen.errors import InputError
from lichen.tasks import source
from lichen.tasks.recode import task_of
from lichen.tasks.task import Task


class _Inputs(msgspec.Struct, frozen=True):
    base_input: list[list[Any]] = []
    plus_input: list[list[Any]] = []
    atol: float = 0.0
    assertion: str = ""


def is_evalplus(row: dict[str, Any]) -> bool:
    """Whether a row has its tests in EvalPlus's form."""
    return "base_input" in row or "plus_input" in row


def lacks_signature(prompt: str, solution: str, entry_point: str) -> bool:
    """Whether the prompt is a text alone, and the solution a program of its own, as in MBPP+."""
    tree, whole = source.parse(prompt), source.parse(solution)
    return (
        tree is not None
        and whole is not None
        and ast.get_docstring(tree) is not None
        and source.function(tree, entry_point) is None
        and source.function(whole, entry_point) is not None
    )


def task_without_signature(row: dict[str, Any], prompt: str, solution: str, where: str) -> Task:
    """A task of MBPP+: its prompt as MBPP's, its test by its inputs."""
    assertion = row.get("assertion")
    if not isinstance(assertion, str) or not assertion.strip():
        raise InputError(
            f"{where}: its prompt does not define the entry point {row['entry_point']!r}, and there"
            " is no field assertion to make a signature with"
        )
    told = ast.get_docstring(ast.parse(prompt)) or ""
    text = "\n".join(line for line in told.splitlines() if not line.startswith("assert "))
    task = task_of(row["task_id"], text, solution, assertion.strip().splitlines(), where)
    if task.entry_point != row["entry_point"]:
        raise InputError(f"{where}: its asserts do not call {row['entry_point']!r}")
    return replace(task, test=test(row, task.reference, where))


def test(row: dict[str, Any], reference: str, where: str) -> str:
    """A test that compares with the reference, on copies because either may change its input."""
    try:
        given = msgspec.convert({key: row[key] for key in row if row[key] is not None}, _Inputs)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{where}: base_input and plus_input have to be lists of argument lists, atol a number"
            f" ({error})"
        ) from None
    entry_point = row["entry_point"]
    calls = list(_calls(given.assertion, entry_point))
    try:
        inputs = [_converted(inputs, calls) for inputs in [*given.base_input, *given.plus_input]]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: its inputs are not like those of its asserts ({error})"
        ) from None
    if not inputs:
        return ""
    return TEST.format(
        reference=reference,
        entry_point=entry_point,
        inputs=inputs,
        atol=given.atol,
        view="set" if _compares_sets(given.assertion, entry_point) else "",
    )


def _calls(assertion: str, entry_point: str) -> Iterator[list[Any]]:
    """The literal arguments with which MBPP's asserts call the function."""
    tree = source.parse(assertion)
    for node in ast.walk(tree) if tree else ():
        match node:
            case ast.Call(func=ast.Name(id=name), args=arguments) if name == entry_point:
                try:
                    yield [ast.literal_eval(argument) for argument in arguments]
                except ValueError:
                    continue


def _converted(arguments: list[Any], calls: list[list[Any]]) -> list[Any]:
    """Arguments with the types that those in the same places of the asserts have."""
    return [
        _like(argument, [call[place] for call in calls if place < len(call)])
        for place, argument in enumerate(arguments)
    ]


def _like(value: Any, examples: list[Any]) -> Any:
    """A value out of JSON, as the one type that examples of it have."""
    kinds = {type(example) for example in examples}
    kind = kinds.pop() if len(kinds) == 1 else None
    match value:
        case list():
            inner = [part for example in examples if _is_series(example) for part in example]
            parts = [_like(part, [e for e in inner if _alike(part, e)]) for part in value]
            return kind(parts) if kind in (tuple, set, frozenset) else parts
        case dict():
            maps = [example for example in examples if isinstance(example, dict)]
            inner = [part for example in maps for part in example.values()]
            return {key: _like(part, inner) for key, part in value.items()}
        case str() if kind in (complex, float, int):
            return complex(value) if kind is complex else float(value)
    return value


def _alike(value: Any, example: Any) -> bool:
    """Whether both are series, or both not."""
    return isinstance(value, list) == _is_series(example)


def _is_series(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def _compares_sets(assertion: str, entry_point: str) -> bool:
    """Whether MBPP's asserts take the answer as a set: ``assert set(f(...)) == set(...)``."""
    tree = source.parse(assertion)
    asserts = [node.test for node in tree.body if isinstance(node, ast.Assert)] if tree else []
    start = f"set({entry_point}("
    return bool(asserts) and all(ast.unparse(node).startswith(start) for node in asserts)


# EvalPlus takes 1e-6 where a task states no tolerance and the right answer is made of floats, and
# calls any root right that find_zero (HumanEval/32) finds.
TEST = """\
import copy
import math

inf, nan = math.inf, math.nan
truth = {{}}
exec({reference!r}, truth)


def floats(value):
    if isinstance(value, (list, tuple)):
        return all(map(floats, value))
    return isinstance(value, float)


def same(answer, expected, atol):
    if answer == expected or (answer != answer and expected != expected):
        return True
    if isinstance(expected, (int, float)) and isinstance(answer, (int, float)):
        return math.isclose(answer, expected, rel_tol=1e-7 * bool(atol), abs_tol=atol)
    if isinstance(expected, (list, tuple)) and isinstance(answer, (list, tuple)):
        comparable = atol or type(answer) is type(expected)
        return comparable and len(answer) == len(expected) and all(
            same(*pair, atol) for pair in zip(answer, expected)
        )
    return False


def right(answer, expected, arguments):
    if {view!r}:
        return set(answer) == set(expected)
    if {entry_point!r} == "find_zero" and "poly" in truth:
        if abs(truth["poly"](*arguments, answer)) <= {atol!r}:
            return True
    return same(answer, expected, {atol!r} or 1e-6 * floats(expected))


for arguments in {inputs!r}:
    expected = truth[{entry_point!r}](*copy.deepcopy(arguments))
    answer = {entry_point}(*copy.deepcopy(arguments))
    assert right(answer, expected, arguments), arguments
"""
