"""The functions of a project that can be asked for, and why the others cannot."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lichen.tasks import source
from lichen.tasks.repo.coverage import Coverage


@dataclass(frozen=True)
class Module:
    """A module of the project: its dotted name, its file in the project, and its source."""

    name: str
    file: str
    text: str
    tree: ast.Module


@dataclass(frozen=True)
class Found:
    """A function of a module, with the class that it is a method of, if it is one."""

    module: Module
    node: ast.FunctionDef
    owner: ast.ClassDef | None = None

    @property
    def name(self) -> str:
        """The qualified name."""
        return f"{self.owner.name}.{self.node.name}" if self.owner else self.node.name

    @property
    def place(self) -> tuple[str, int]:
        """The file and the first line, as a code object has them."""
        return self.module.file, source.first_line(self.node)


def modules(project: Path, coverage: Coverage) -> list[Module]:
    """What the suite imported of the project, its own test files left out."""
    found = []
    for file, name in sorted(coverage.modules.items()):
        if file in coverage.test_files or not file.endswith(".py"):
            continue
        if Path(file).name == "conftest.py" or Path(file).name.startswith("test_"):
            continue
        text = (project / file).read_text("utf-8", errors="replace")
        tree = source.parse(text)
        if tree is not None:
            found.append(Module(name, file, text, tree))
    return found


def find(parts: list[Module]) -> tuple[list[Found], Mapping[str, int]]:
    """The functions worth asking for, and how many were passed over for which reason."""
    kept, passed_over = [], Counter[str]()
    for function, reason in (pair for part in parts for pair in _definitions(part)):
        if reason is None and isinstance(function, Found):
            kept.append(function)
        else:
            passed_over[str(reason)] += 1
    return kept, passed_over


def _definitions(module: Module) -> Iterator[tuple[Found | None, str | None]]:
    """Functions at the top level and methods of classes there, each with a reason against it."""
    bodies: list[tuple[ast.ClassDef | None, list[ast.stmt]]] = [(None, module.tree.body)]
    bodies += [(n, n.body) for n in module.tree.body if isinstance(n, ast.ClassDef)]
    for owner, body in bodies:
        counts = Counter(n.name for n in body if isinstance(n, source.Function))
        for node in body:
            if isinstance(node, ast.AsyncFunctionDef):
                yield None, "asynchronous"
            elif isinstance(node, ast.FunctionDef):
                reason = "defined more than once" if counts[node.name] > 1 else _reason(node)
                yield Found(module, node, owner), reason


def _reason(node: ast.FunctionDef) -> str | None:
    """Why a function is no task, or None."""
    if node.name.startswith("__") and node.name.endswith("__"):
        return "special method"
    if any(_last_name(d) in ("overload", "abstractmethod") for d in node.decorator_list):
        return "overload or abstract"
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body or (len(body) == 1 and _is_trivial(body[0])):
        return "trivial body"
    if body[0].lineno <= max(node.lineno, node.body[0].lineno if body is not node.body else 0):
        return "written on one line"
    return None


def _is_trivial(statement: ast.stmt) -> bool:
    """pass, ..., raise NotImplementedError, or the return of a name, constant or attribute."""
    if isinstance(statement, ast.Raise):
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    if isinstance(statement, ast.Return):
        value = statement.value
        while isinstance(value, ast.Attribute):
            value = value.value
        return value is None or isinstance(value, ast.Name | ast.Constant)
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or constant


def _last_name(decorator: ast.expr) -> str:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""
