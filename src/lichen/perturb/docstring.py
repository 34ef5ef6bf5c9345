"""Perturbations of the docstring's prose: what a person may mistype or put differently.

Only plain English words are touched.  Names, types, numbers, quoted text, code and everything
that belongs to an example stay as they are, because they are part of what is asked.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lichen.perturb.anatomy import body, docstring
from lichen.perturb.registry import perturbation
from lichen.tasks import source
from lichen.tasks.task import Task

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
PROBABILITY = 0.05  # of each letter, as in ReCode

# From such a line on a docstring shows examples: HumanEval has many without ">>>".
_EXAMPLES = re.compile(
    r"^.*(>>>|\b(examples?|e\.g|for instance|inputs?:|outputs?:))", re.IGNORECASE | re.MULTILINE
)
_CODE = re.compile(r"==|=>|->|➞|➜|[\[\]{}<>=|\\]|\w\(")
_QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)")
# English words as they stand in a sentence; one letter or two may be anything.
_WORD = re.compile(r"(?<!\S)(\(?)([A-Za-z][a-z]{2,})(?=[.,;:!?)]*(?:\s|\Z))")
_LITERALS = {"true", "false", "none", "null", "yes", "nan", "inf"}


@perturbation(category="docstring", random=True)
def butter_fingers(task: Task, rng: np.random.Generator) -> Task | None:
    """Letters of the prose are hit one key off, each with a probability of 0.05.

    At least one letter changes, so that every seed counts.
    """
    letters = [place for start, end in _words(task) for place in range(start, end)]
    if not letters:
        return None
    hit = [place for place in letters if rng.random() < PROBABILITY]
    text = list(task.prompt)
    for place in hit or [_choice(letters, rng)]:
        text[place] = _neighbour(text[place], rng)
    return _with_prompt(task, "".join(text))


def _neighbour(letter: str, rng: np.random.Generator) -> str:
    """A key beside the letter's on an English keyboard, in the letter's case.

    Each row lies half a key right of the one above.
    """
    row = next(i for i, keys in enumerate(_ROWS) if letter.lower() in keys)
    place = _ROWS[row].index(letter.lower())
    beside = [(row, place - 1), (row, place + 1)]
    above = [(row - 1, place), (row - 1, place + 1)]
    below = [(row + 1, place - 1), (row + 1, place)]
    keys = [
        _ROWS[i][j]
        for i, j in [*beside, *above, *below]
        if 0 <= i < len(_ROWS) and 0 <= j < len(_ROWS[i])
    ]
    key = keys[int(rng.random() * len(keys))]
    return key.upper() if letter.isupper() else key


def _choice(places: list[int], rng: np.random.Generator) -> int:
    return places[int(rng.random() * len(places))]


def _with_prompt(task: Task, prompt: str) -> Task:
    """The task with another prompt before the same body."""
    rest = body(task)
    reference = task.reference if rest is None else prompt + rest
    return replace(task, prompt=prompt, reference=reference)


def _words(task: Task) -> Iterator[tuple[int, int]]:
    """The places (start, end) in the prompt of words that may be misspelt."""
    parts = docstring(task)
    if parts is None:
        return
    protected = _protected(task)
    prose = _prose(task.prompt[parts.start : parts.end])
    start = parts.start
    for line in source.lines(prose):
        for word in _WORD.finditer("" if _CODE.search(line) else line):
            if word[2].lower() not in protected:
                yield start + word.start(2), start + word.end(2)
        start += len(line)


def _prose(text: str) -> str:
    """The docstring before its examples, quoted text (which may span lines) blanked out."""
    examples = _EXAMPLES.search(text)
    prose = text[: examples.start()] if examples else text
    return _QUOTED.sub(lambda quoted: re.sub(r"[^\n]", "\0", quoted[0]), prose)


def _protected(task: Task) -> set[str]:
    """Words, in lower case, that mean something to the program: never misspelt."""
    types = {name for name in dir(builtins) if isinstance(getattr(builtins, name), type)}
    names = _LITERALS | types | {word for word in keyword.kwlist if word[0].isupper()}
    for text in (task.reference, task.test):
        tree = source.parse(text)
        nodes = list(ast.walk(tree)) if tree else []
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        names.update(*(_names(node) for node in nodes if id(node) not in docstrings))
    return {name.lower() for name in names}


def _names(node: ast.AST) -> set[str]:
    """The identifiers and the short texts of a syntax node; texts may be answers."""
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
            return {name}
        case ast.FunctionDef(name=name) | ast.alias(name=name) | ast.keyword(arg=str(name)):
            return {name}
        case ast.Constant(value=str(text)) if len(text) < 80:
            return set(re.findall(r"\w+", text))
    return set()
