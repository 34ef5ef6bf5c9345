"""`basics`: the tasks that were written for this project.

They live as ordinary Python in ``data/basics/<topic>.py``: a function with a mark of difficulty,
a docstring and a reference body, and beside it ``test_<function>`` with its tests.  A file can
be run by pytest as it is; here it is only parsed.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from importlib import resources

from lichen.tasks import source
from lichen.tasks.task import Task, TaskSet

DESCRIPTION = "short Python functions from one line to small algorithms, written for lichen"


def load() -> TaskSet:
    """All tasks, topic by topic."""
    folder = resources.files("lichen.tasks") / "data" / "basics"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".py")), key=lambda file: file.name
    )
    tasks = [task for file in files for task in parse(file.read_text(encoding="utf-8"))]
    return TaskSet(name="basics", tasks=tuple(tasks), source="basics (written for lichen)")


def parse(text: str) -> Iterator[Task]:
    """The tasks of one topic file."""
    tree = ast.parse(text)
    lines = source.lines(text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, node in functions.items():
        if not node.decorator_list:
            continue
        needed = _imports(imports, node)
        docstring, first = node.body[0], node.body[1]
        signature = "".join(lines[node.lineno - 1 : docstring.end_lineno])
        body = "".join(lines[first.lineno - 1 : node.end_lineno])
        prompt = needed + "\n\n" * bool(needed) + signature
        yield Task(
            id=f"basics/{name}",
            prompt=prompt,
            entry_point=name,
            reference=prompt + body,
            test=_tests(lines, functions.get(f"test_{name}")),
            preamble=needed,
            difficulty=ast.unparse(node.decorator_list[0]),
        )


def _imports(imports: list[ast.Import | ast.ImportFrom], node: ast.FunctionDef) -> str:
    """The import lines that this function uses, names that it does not use left out."""
    body = [node.args, *node.body, node.returns or ast.Pass()]
    used = {name.id for part in body for name in ast.walk(part) if isinstance(name, ast.Name)}
    text = ""
    for statement in imports:
        names = [alias for alias in statement.names if (alias.asname or alias.name) in used]
        if names and isinstance(statement, ast.Import):
            text += ast.unparse(ast.Import(names)) + "\n"
        elif names and isinstance(statement, ast.ImportFrom):
            text += ast.unparse(ast.ImportFrom(statement.module, names, 0)) + "\n"
    return text


def _tests(lines: list[str], node: ast.FunctionDef | None) -> str:
    """The body of a test function as a program of its own."""
    if node is None:
        return ""
    return textwrap.dedent("".join(lines[node.body[0].lineno - 1 : node.end_lineno]))
