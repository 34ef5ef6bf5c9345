"""Where the parts of a task lie in its source: signature, docstring, body."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, replace

from lichen.tasks import source
from lichen.tasks.task import Task


@dataclass(frozen=True)
class Docstring:
    """The entry point's docstring as it stands in the source, between its quotes.

    ``prompt[literal_start:literal_end]`` is the whole literal, ``prompt[start:end]`` what is
    between the quotes, escapes as they are written.
    """

    literal_start: int
    start: int
    end: int
    literal_end: int


def docstring(task: Task) -> Docstring | None:
    """Where the docstring of the entry point lies in ``task.prompt``, if it has one."""
    tree = source.parse_open(task.prompt)
    function = source.function(tree, task.entry_point) if tree else None
    if function is None or ast.get_docstring(function) is None:
        return None
    literal = function.body[0]
    first = source.offset(task.prompt, literal.lineno, literal.col_offset)
    last = source.offset(task.prompt, literal.end_lineno or 0, literal.end_col_offset or 0)
    quotes = re.match(r"""[a-zA-Z]*(\"\"\"|'''|"|')""", task.prompt[first:last])
    if quotes is None:  # several literals in brackets
        return None
    return Docstring(first, first + quotes.end(), last - len(quotes[1]), last)


def body(task: Task) -> str | None:
    """What the reference adds to the prompt, or None where it is a program of its own."""
    if not task.reference.startswith(task.prompt):
        return None
    return task.reference[len(task.prompt) :]


def half_body(task: Task) -> Task | None:
    """The task with the first half of the reference body in its prompt.

    Halves are counted in logical lines, rounded down: of a body of one line nothing is given
    away.  None where the reference does not go on from the prompt.
    """
    rest = body(task)
    if rest is None:
        return None
    first = task.prompt.count("\n") + 1
    ends = [line for line in _logical_line_ends(task.reference) if line >= first]
    given = ends[: len(ends) // 2]
    if not given:
        return task
    lines = source.lines(task.reference)
    return replace(task, prompt="".join(lines[: given[-1]]))


def _logical_line_ends(text: str) -> list[int]:
    """The numbers of the physical lines on which a statement, or the head of a block, ends."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.start[0] for token in tokens if token.type == tokenize.NEWLINE]
