"""Small facts about Python source text that tasks, extraction and perturbations share."""

from __future__ import annotations

import ast
import io
import re
import warnings

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines(source: str) -> list[str]:
    """The lines with their ends, counted as Python does: a form feed or U+2028 ends none."""
    return list(io.StringIO(source))


def parse(source: str) -> ast.Module | None:
    """The syntax tree of any text, or None where Python cannot parse it.

    The text may be a model's: nesting too deep, null bytes and lone surrogates are None too,
    and doubtful escapes warn nobody.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def parse_open(source: str) -> ast.Module | None:
    """The syntax tree of source that may stop inside a body, as prompts do."""
    return parse(source) or parse(source.rstrip() + "\n" + open_indent(source) + "pass\n")


def open_indent(source: str) -> str:
    """The indentation that the next line of unfinished source is expected to have."""
    written = [line.rstrip() for line in lines(source) if line.strip()]
    if not written:
        return ""
    last = written[-1]
    indent = last[: len(last) - len(last.lstrip())]
    opens = not last.lstrip().startswith("#") and re.search(r":\s*(#.*)?$", last)
    return indent + "    " if opens else indent


def function(tree: ast.Module, name: str) -> Function | None:
    """The last top-level definition of ``name``: the one that a caller gets."""
    found = [node for node in tree.body if isinstance(node, Function) and node.name == name]
    return found[-1] if found else None


def preamble(prompt: str, entry_point: str) -> str:
    """What the prompt holds beside the entry point: imports, helpers, constants."""
    tree = parse_open(prompt)
    if tree is None:
        return ""
    text = lines(prompt)
    others = [
        "".join(text[first_line(node) - 1 : node.end_lineno])
        for node in tree.body
        if not (isinstance(node, Function) and node.name == entry_point)
    ]
    return "".join(others)


def first_line(node: ast.stmt) -> int:
    """The line on which a statement starts, decorators included (1-based)."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def offset(source: str, line: int, column: int) -> int:
    """The index into ``source`` of ast's (1-based line, column in UTF-8 bytes)."""
    text = lines(source)
    return sum(map(len, text[: line - 1])) + len(text[line - 1].encode()[:column].decode())
