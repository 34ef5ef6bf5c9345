"""From a function of a project to a task: the prompt, the reference and the test."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence

from lichen.tasks import source
from lichen.tasks.repo.functions import Found, Module
from lichen.tasks.task import HOLE, Task

#: Longer prompts are for no small model; what the function uses is shown up to half of it.
PROMPT_CHARACTERS = 6000
_CONTEXT_CHARACTERS = PROMPT_CHARACTERS // 2
_SHORT = 300  # a constant longer than this is told by its name alone


def compose(function: Found, project: Sequence[Module], tests: Sequence[str]) -> Task:
    """The task of writing ``function`` again, judged by ``tests`` (pytest's ids)."""
    head, body = _cut(function)
    context = "\n\n\n".join(filter(None, (_imports(function), _context(function))))
    prompt = f"{context}\n\n\n{head}" if context else head
    module = function.module
    arguments = f"candidate, {module.name!r}, {module.file!r}, {function.node.lineno}"
    listed = "".join(f"    {test!r},\n" for test in tests)
    return Task(
        id=f"repo/{function.module.name}:{function.name}",
        prompt=prompt,
        entry_point=function.node.name,
        reference=prompt + body,
        test=f"import lichen_project\n\nlichen_project.check({arguments}, [\n{listed}])\n",
        host=_host(function, project),
    )


def blanked(task: Task) -> str:
    """The task's program without a body: no test that checks the function passes with it."""
    indent = source.open_indent(task.prompt)
    return f"{task.prompt}{indent}raise NotImplementedError\n"


def _host(function: Found, project: Sequence[Module]) -> str:
    """The program around an answer; the function's own body is in it nowhere."""
    modules = {part.name: (part.file, part.text) for part in project}
    own = function.module
    modules[own.name] = own.file, without_body(function)
    return (
        "import lichen_project\n\n"
        f"lichen_project.answer(globals(), {HOLE}, module={own.name!r}, "
        f"line={function.node.lineno}, files={modules!r})\n"
    )


def without_body(function: Found) -> str:
    """The module's source with ``...`` for the function's body."""
    lines = source.lines(function.module.text)
    start = _body_start(function.node, lines)
    indent = " " * function.node.body[-1].col_offset
    end = function.node.end_lineno or start
    return "".join([*lines[: start - 1], f"{indent}...\n", *lines[end:]])


def _cut(function: Found) -> tuple[str, str]:
    """(decorators, signature and docstring; the body), at the margin."""
    lines = source.lines(function.module.text)
    start = _body_start(function.node, lines)
    head = "".join(lines[source.first_line(function.node) - 1 : start - 1])
    body = "".join(lines[start - 1 : function.node.end_lineno])
    if function.owner is None:
        return head, body if body.endswith("\n") else body + "\n"
    whole = textwrap.dedent(head + body)
    cut = len(source.lines(head))
    return "".join(source.lines(whole)[:cut]), "".join(source.lines(whole)[cut:])


def _body_start(node: ast.FunctionDef, lines: Sequence[str]) -> int:
    """The line (1-based) behind the docstring, or behind the signature and before its comments."""
    if ast.get_docstring(node) is not None:
        return (node.body[0].end_lineno or node.lineno) + 1
    line = source.first_line(node.body[0])
    while line - 1 > node.lineno and lines[line - 2].strip()[:1] in ("", "#"):
        line -= 1
    return line


def _names(nodes: Sequence[ast.AST]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


def _imports(function: Found) -> str:
    """The module's import lines, with the names that the function uses."""
    used = _names([function.node, *(function.owner.bases if function.owner else ())])
    text = ""
    for node in function.module.tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [a for a in node.names if (a.asname or a.name.split(".")[0]) in used]
        if not names:
            continue
        if isinstance(node, ast.Import):
            text += ast.unparse(ast.Import(names)) + "\n"
        else:
            text += ast.unparse(ast.ImportFrom(node.module, names, node.level)) + "\n"
    return text.rstrip("\n")


def _context(function: Found) -> str:
    """What else of its module the function uses, as signatures, within the bound of its size."""
    used = _names([function.node])
    parts, size = [], 0
    for node in function.module.tree.body:
        if node is function.node:
            continue
        if node is function.owner:
            shown = "\n".join(_class(node, without=function.node))
        elif used & set(_given(node)):
            shown = _shown(node, function.module)
        else:
            continue
        if size + len(shown) <= _CONTEXT_CHARACTERS:
            parts.append(shown)
            size += len(shown)
    return "\n\n\n".join(parts)


def _given(node: ast.stmt) -> Iterator[str]:
    """The names that a definition or an assignment at the top level gives."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _shown(node: ast.stmt, module: Module) -> str:
    if isinstance(node, ast.ClassDef):
        return "\n".join(_class(node))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return "\n".join(_signature(node))
    text = ast.get_source_segment(module.text, node) or ""
    return text if len(text) <= _SHORT else f"{next(_given(node))} = ..."


def _class(node: ast.ClassDef, without: ast.AST | None = None) -> Iterator[str]:
    """A class as its line, the first paragraph of its docstring, and its methods' signatures."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"class {node.name}({bases}):" if bases else f"class {node.name}:"
    yield from _summary(node)
    members = [n for n in node.body if isinstance(n, source.Function) and n is not without]
    for member in members:
        if member.name == "__init__":  # tells the attributes
            yield from textwrap.indent(ast.unparse(member), "    ").split("\n")
        else:
            yield from ("    " + line for line in _signature(member))
    if not members:
        yield "    ..."


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    yield from (f"@{ast.unparse(decorator)}" for decorator in node.decorator_list)
    yield f"{word} {node.name}({ast.unparse(node.args)}){returns}:"
    yield from _summary(node)
    yield "    ..."


def _summary(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[str]:
    docstring = ast.get_docstring(node)
    if docstring:
        paragraph = " ".join(docstring.split("\n\n")[0].split())
        shown = paragraph.replace("\\", "\\\\").replace('"""', "'''")
        yield f'    """{shown}"""' if not shown.endswith('"') else f'    """{shown} """'
