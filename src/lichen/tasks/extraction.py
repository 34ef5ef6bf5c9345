"""From a model's answer to the program that is run.

A model may go on with the body, or write the whole function again, or talk around a code block;
it may be cut off in the middle of a statement, and it likes to add examples and tests.  Every
way to read the answer is a candidate; the first that parses as it stands wins.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from lichen.tasks import source
from lichen.tasks.prompting import FENCE, Prompt
from lichen.tasks.task import Task

#: Longer answers are cut: no task needs more, and the parser's time has to stay bounded.
MAX_CHARACTERS = 64_000

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom


def program(task: Task, prompt: Prompt, completion: str) -> str:
    """The program to run for ``completion``, the model's answer to ``prompt``.

    It defines ``task.entry_point`` wherever the answer allows; otherwise it is the prompt with
    the answer behind it, and running that tells what is wrong.
    """
    completion = completion[:MAX_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
    readings = list(_readings(task, prompt, completion))
    for reading in [*readings, *map(_cut_unfinished, readings)]:
        if _answers(reading, task, prompt):
            return _without_examples(reading, task.entry_point)
    return readings[0]


def _readings(task: Task, prompt: Prompt, completion: str) -> Iterator[str]:
    """Programs that the answer may mean, the likeliest first."""
    body = re.split(rf"^ {{0,3}}{FENCE}", completion, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = _blocks(completion)
    yield prompt.prefix + body
    for text in [*blocks, body]:
        if _defines(text, task.entry_point):
            yield task.preamble + _from_first_definition(text)
    yield from (prompt.prefix + text for text in _reindented(prompt, body))
    for block in blocks:
        yield from (prompt.prefix + text for text in [block, *_reindented(prompt, block)])


def _blocks(text: str) -> list[str]:
    """The contents of fenced code blocks; the last one may be unclosed."""
    pattern = rf"^ {{0,3}}{FENCE}[ \t]*\w*[ \t]*\n(.*?)(?:^ {{0,3}}{FENCE}[ \t]*$|\Z)"
    return re.findall(pattern, text, re.MULTILINE | re.DOTALL)


def _reindented(prompt: Prompt, text: str) -> Iterator[str]:
    """The text with slips in its indentation repaired: of the first line, or of all lines.

    Tokens join spaces with words, so a model easily begins one space off, or at the margin.
    """
    indent = source.open_indent(prompt.prefix)
    text = text.lstrip("\n")
    yield indent + text.lstrip()
    if not text.startswith(" "):
        yield "".join(indent * bool(line.strip()) + line for line in source.lines(text))


def _defines(text: str, entry_point: str) -> bool:
    pattern = rf"^(async\s+)?def\s+{re.escape(entry_point)}\s*\("
    return re.search(pattern, text, re.MULTILINE) is not None


def _from_first_definition(text: str) -> str:
    """The text without what is said before its first import or definition."""
    start = re.search(r"^(import |from \S+ import |def |class |async def |@)", text, re.MULTILINE)
    return text[start.start() :] if start else text


def _cut_unfinished(text: str) -> str:
    """The longest beginning, in lines, that parses."""
    lines = source.lines(text)
    while lines and source.parse("".join(lines)) is None:
        lines.pop()
    return "".join(lines)


def _answers(text: str, task: Task, prompt: Prompt) -> bool:
    """Whether the program parses, says more than the prompt, and gives the function a body."""
    tree = source.parse(text)
    if tree is None or prompt.prefix.startswith(text.rstrip()):
        return False
    if any(isinstance(node, ast.Return) for node in tree.body):  # ast alone lets this pass
        return False
    function = source.function(tree, task.entry_point)
    return function is not None and (len(function.body) > 1 or ast.get_docstring(function) is None)


def _without_examples(text: str, entry_point: str) -> str:
    """The program without what follows the answer at the margin and only tries it out.

    Statements are found in the syntax tree, so text inside strings is never taken for one.
    """
    tree = ast.parse(text)
    function = source.function(tree, entry_point)
    start = function.lineno if function else 0
    used = {
        name.id
        for node in tree.body
        if isinstance(node, _Definition)
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }
    dropped = {
        line
        for node in tree.body
        if node.lineno > start
        and not isinstance(node, _Definition)
        and not _is_constant(node, used)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(source.lines(text), start=1)
    return "".join(line for number, line in lines if number not in dropped)


def _is_constant(node: ast.stmt, used: set[str]) -> bool:
    """Whether a statement gives a name its value that the definitions use."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in used for target in node.targets)
    return isinstance(node, ast.AnnAssign) and (
        isinstance(node.target, ast.Name) and node.target.id in used
    )
