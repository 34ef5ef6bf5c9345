"""Perturbations of code; prompts hold the first half of the reference body (see `nominal`)."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lichen.perturb.anatomy import docstring
from lichen.perturb.registry import perturbation
from lichen.tasks import source
from lichen.tasks.source import Function
from lichen.tasks.task import Task

NEW_NAME = "VAR_0"  # ReCode's "naive" renaming


@perturbation(category="syntax")
def rename_variable(task: Task, rng: np.random.Generator) -> Task | None:
    """The variable that the prompt's code uses most is called VAR_0.

    Parameters count; a mention in the docstring that is unmistakably the variable moves too.
    """
    tree, whole = source.parse_open(task.prompt), source.parse(task.reference)
    function = source.function(tree, task.entry_point) if tree else None
    complete = source.function(whole, task.entry_point) if whole else None
    if function is None or complete is None or NEW_NAME in task.reference:
        return None
    fixed = _not_renameable(complete) | _keywords(task.test)
    uses = Counter(name for name in _variables(function) if name not in fixed)
    if not uses:
        return None
    old = uses.most_common(1)[0][0]
    first = source.first_line(complete)
    prompt = _renamed(task.prompt, old, first, _mentions(task, old))
    reference = _renamed(task.reference, old, first, _mentions(task, old))
    return replace(task, prompt=prompt, reference=reference)


def _variables(function: Function) -> Iterator[str]:
    """Every use of a name that the function binds, parameters first."""
    arguments = [node.arg for node in ast.walk(function) if isinstance(node, ast.arg)]
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    bound = set(arguments) | {node.id for node in names if isinstance(node.ctx, ast.Store)}
    yield from arguments
    yield from (node.id for node in names if node.id in bound)


def _not_renameable(function: Function) -> set[str]:
    """Names that also mean something else, or stand where tokens cannot be told apart.

    Keyword arguments name another function's parameters; names inside f-strings are part of a
    string token before Python 3.12; a docstring's "a" may be the article.
    """
    names = {"a", "self"}
    for node in ast.walk(function):
        match node:
            case ast.keyword(arg=str(name)):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.alias(name=name):
                names.add(name)
            case ast.Global(names=listed) | ast.Nonlocal(names=listed):
                names.update(listed)
            case ast.JoinedStr():
                names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


def _keywords(test: str) -> set[str]:
    """The names of arguments that the tests give by keyword."""
    tree = source.parse(test)
    nodes = ast.walk(tree) if tree else iter(())
    return {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg}


def _mentions(task: Task, name: str) -> list[re.Match[str]]:
    """Where the docstring's prose speaks of the variable, not merely of the word.

    In backticks any name; bare only those that English has no use for: single letters, and
    names with an underscore, a digit or a capital inside.
    """
    parts = docstring(task)
    if parts is None:
        return []
    examples = task.prompt.find(">>>", parts.start, parts.end)
    end = parts.end if examples < 0 else examples
    quoted = rf"(?<=`){re.escape(name)}(?=`)"
    bare = rf"(?<![\w.'\"-]){re.escape(name)}(?![\w'\"-]|\.\w)"
    technical = len(name) == 1 or re.search(r"[_\d]|[a-z][A-Z]", name)
    pattern = re.compile(f"{quoted}|{bare}" if technical else quoted)
    return list(pattern.finditer(task.prompt, parts.start, end))


def _renamed(text: str, old: str, first: int, mentions: list[re.Match[str]]) -> str:
    """The text with the variable renamed in code from line ``first`` on, and where mentioned."""
    places = [match.start() for match in mentions]
    previous = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        named = token.type == tokenize.NAME and token.string == old and previous != "."
        if named and token.start[0] >= first:
            before = source.lines(text)[: token.start[0] - 1]
            places.append(sum(map(len, before)) + token.start[1])
        previous = token.string
    for place in sorted(places, reverse=True):
        text = text[:place] + NEW_NAME + text[place + len(old) :]
    return text
