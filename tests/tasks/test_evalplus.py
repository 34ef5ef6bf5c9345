"""Tasks in EvalPlus's form: HumanEval+ with its prompts, MBPP+ without signatures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.running import passes

from lichen import tasks
from lichen.errors import InputError
from lichen.tasks import Task

PLUS: dict[str, Any] = {
    "task_id": "own/0",
    "prompt": 'def half(x):\n    """Half."""\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "contract": "\n    assert x == x # $_CONTRACT_$\n",
    "base_input": [[1]],
    "plus_input": [[2], [0.3]],
    "atol": 0,
}
#: A row of MBPP+ in all its fields; the words and the code are our own.
SHARED: dict[str, Any] = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nWrite a function to find what two tuples share.\n'
    'assert set(shared((3, 4), (4, 10))) == set((4,))\n"""\n',
    "entry_point": "shared",
    "canonical_solution": "\ndef shared(a, b):\n    return tuple(set(a) & set(b))\n",
    "contract": "\n    assert isinstance(a, tuple) # $_CONTRACT_$\n",
    "assertion": "\nassert set(shared((3, 4), (4, 10))) == set((4,))\n",
    "base_input": [[[3, 4], [4, 10]]],
    "plus_input": [[[], [1]], [[1, 2, 3], [3, 1]]],
    "atol": 0,
}


def task_of(path: Path, row: dict[str, Any]) -> Task:
    file = path / "plus.jsonl"
    file.write_text(json.dumps(row) + "\n")
    [task] = tasks.load(str(file)).tasks
    return task


@pytest.mark.parametrize(
    ("body", "right"),
    [
        ("return x / 2", True),
        ("return 0.5 * x + 1e-9", True),
        ("return 0.5 * x + 1e-3", False),
        ("return x // 2", False),
        ("return [x / 2]", False),
        ("return None", False),
    ],
)
def test_answers_are_compared_with_the_reference(tmp_path: Path, body: str, right: bool) -> None:
    task = task_of(tmp_path, PLUS)
    assert passes(task)
    assert passes(task, f"def half(x):\n    {body}\n") is right


@pytest.mark.parametrize(
    ("solution", "answer", "atol", "right"),
    [
        ("[x, 1]", "[x, 1]", 0, True),
        ("[x, 1]", "(x, 1)", 0, False),
        ("[x / 2, 1.0]", "(x / 2 + 1e-9, 1.0)", 0, True),
        ("[x / 2, 1.0]", "[x / 2]", 0, False),
        ("x", "x + 1e-3", 0.01, True),
        ("x", "x + 1e-3", 0, False),
        ("float('nan')", "float('nan')", 0, True),
        ("{'a': x}", "{'a': x}", 0, True),
    ],
)
def test_tolerance_and_types(
    tmp_path: Path, solution: str, answer: str, atol: float, right: bool
) -> None:
    task = task_of(
        tmp_path, PLUS | {"canonical_solution": f"    return {solution}\n", "atol": atol}
    )
    assert passes(task)
    assert passes(task, f"def half(x):\n    return {answer}\n") is right


def test_inputs_that_only_json_of_python_knows(tmp_path: Path) -> None:
    task = task_of(tmp_path, PLUS | {"base_input": [[float("inf")], [float("nan")]]})
    assert passes(task)


def test_any_root_that_find_zero_finds_is_right(tmp_path: Path) -> None:
    prompt = (
        "def poly(xs, x):\n    return sum(c * x**i for i, c in enumerate(xs))\n\n"
        'def find_zero(xs):\n    """Any root."""\n'
    )
    row = {"prompt": prompt, "entry_point": "find_zero", "canonical_solution": "    return 1.0\n"}
    inputs = {"base_input": [[[-1, 0, 1]]], "plus_input": [], "atol": 0.0001}
    task = task_of(tmp_path, PLUS | row | inputs)
    assert passes(task, prompt + "    return -1.0\n")
    assert not passes(task, prompt + "    return 0.5\n")


def test_inputs_are_not_shared_with_the_reference(tmp_path: Path) -> None:
    row = {
        "prompt": 'def last(items):\n    """Last."""\n',
        "entry_point": "last",
        "canonical_solution": "    return items.pop()\n",
        "base_input": [[[1, 2]]],
        "plus_input": [],
    }
    assert passes(task_of(tmp_path, PLUS | row), "def last(items):\n    return items[-1]\n")


def test_mbpp_plus_gets_a_signature_and_its_types_back(tmp_path: Path) -> None:
    task = task_of(tmp_path, SHARED)
    assert task.prompt == (
        "def shared(a, b):\n"
        '    """\n'
        "    Write a function to find what two tuples share.\n"
        "    >>> set(shared((3, 4), (4, 10))) == set((4,))\n"
        "    True\n"
        '    """\n'
    )
    assert "[[(3, 4), (4, 10)], [(), (1,)], [(1, 2, 3), (3, 1)]]" in task.test
    assert passes(task)
    assert passes(task, "def shared(a, b):\n    return sorted({*a} & {*b}, reverse=True)\n")
    assert not passes(task, "def shared(a, b):\n    return a\n")


@pytest.mark.parametrize(
    ("asserted", "plain", "converted"),
    [
        ("[(1, 2), (3,)]", [[1, 2], [3]], "[(1, 2), (3,)]"),
        ("[{1}, {2}]", [[5], [6, 7]], "[{5}, {6, 7}]"),
        ("{'a': (1, 2)}", {"b": [3, 4]}, "{'b': (3, 4)}"),
        ("1j", "2+3j", "(2+3j)"),
        ("1.5", "2", "2.0"),
        ("'2'", "2", "'2'"),
        ("[1, 2]", [[1], 2], "[[1], 2]"),
        ("((1, 2), [3])", [[1, 2], [3]], "([1, 2], [3])"),
    ],
)
def test_inputs_get_the_types_of_the_asserts(
    tmp_path: Path, asserted: str, plain: object, converted: str
) -> None:
    row = {
        "prompt": '"""Do it."""',
        "canonical_solution": "def shared(a):\n    return a\n",
        "assertion": f"assert shared({asserted}) == 0",
        "base_input": [[plain]],
        "plus_input": [],
    }
    assert f"for arguments in [[{converted}]]:" in task_of(tmp_path, SHARED | row).test


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plus_input": [1]}, "lists of argument lists"),
        ({"base_input": 3}, "lists of argument lists"),
        ({"atol": "x"}, "atol a number"),
        ({"base_input": [], "plus_input": []}, "has no tests"),
        ({"assertion": ""}, "does not define the entry point 'shared'"),
        ({"assertion": "assert other(1) == 1"}, "call no function that its code defines"),
        ({"base_input": [["x"]], "assertion": "assert shared(1j) == 1"}, "not like those"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, change: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert task_of(tmp_path, SHARED | change)
        return
    with pytest.raises(InputError, match=message):
        task_of(tmp_path, SHARED | change)
