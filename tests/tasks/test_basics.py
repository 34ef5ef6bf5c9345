"""The tasks that ship with lichen: each is sound, and its tests catch wrong answers."""

from __future__ import annotations

import ast
import doctest
import json
import statistics
import subprocess
import sys
from collections import Counter

import pytest
from tests.tasks import mutants
from tests.tasks.running import passes

from lichen import tasks
from lichen.tasks import Task, basics, source

BASICS = tasks.load("basics")


def by_name(task: Task) -> str:
    return task.entry_point


@pytest.mark.parametrize("task", BASICS.tasks, ids=by_name)
def test_task_is_sound(task: Task) -> None:
    assert passes(task), "the reference fails its own tests"
    assert not passes(task, f"def {task.entry_point}(*args, **kwargs):\n    return None\n")
    assert task.test.count("assert ") >= 8
    assert task.difficulty in {"easy", "medium", "hard"}
    assert task.reference.startswith(task.prompt)


@pytest.mark.parametrize("task", BASICS.tasks, ids=by_name)
def test_prompt_is_imports_signature_and_docstring(task: Task) -> None:
    tree = source.parse(task.prompt)
    assert tree is not None
    *imports, function = tree.body
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in imports)
    assert isinstance(function, ast.FunctionDef)
    assert len(function.body) == 1
    assert ast.get_docstring(function)
    assert function.returns is not None
    assert all(argument.annotation for argument in function.args.args)
    assert "lichen" not in task.prompt
    assert task.prompt.endswith('"""\n')


@pytest.mark.parametrize("task", BASICS.tasks, ids=by_name)
def test_examples_in_the_docstring_are_true(task: Task) -> None:
    names: dict[str, object] = {}
    exec(task.reference, names)
    [examples] = doctest.DocTestFinder().find(names[task.entry_point], "task", globs=names)
    assert examples.examples
    output: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(examples, out=output.append).failed == 0, output


def test_set_is_large_short_and_graded() -> None:
    lengths = [task.reference[len(task.prompt) :].count("\n") for task in BASICS.tasks]
    levels = Counter(task.difficulty for task in BASICS.tasks)
    assert len(BASICS.tasks) >= 144
    assert statistics.mean(lengths) <= 6
    assert min(levels.values()) >= 40


def test_most_mutants_of_the_references_fail() -> None:
    rows = [(task.id, task.reference, task.preamble, task.test) for task in BASICS.tasks]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", mutants.__file__],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    found = json.loads(run.stdout)
    total = sum(count for count, _ in found.values())
    survivors = {id: left for id, (_, left) in found.items() if left}
    assert total > 2000
    assert sum(map(len, survivors.values())) / total < 0.05, survivors
    weak = {id: left for id, left in survivors.items() if len(left) > found[id][0] / 3}
    assert not weak, weak


def test_only_imports_that_are_used_are_given() -> None:
    text = (
        "import math\n"
        "from collections import Counter, deque\n"
        "from lichen.tasks.levels import easy\n"
        "@easy\n"
        "def f(x: float) -> float:\n"
        '    """Doc."""\n'
        "    return Counter([math.floor(x)])[0]\n"
        "def helper() -> None: ...\n"
        "def test_f() -> None:\n"
        "    x = f(1)\n"
        "    assert x == 0\n"
    )
    [task] = basics.parse(text)
    assert task.preamble == "import math\nfrom collections import Counter\n"
    assert task.prompt == task.preamble + '\n\ndef f(x: float) -> float:\n    """Doc."""\n'
    assert task.reference == task.prompt + "    return Counter([math.floor(x)])[0]\n"
    assert task.test == "x = f(1)\nassert x == 0\n"
    assert task.difficulty == "easy"
