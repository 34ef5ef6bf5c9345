"""Which tests a judge may run one after another in one process: those that leave nothing behind.

Only asserts, assignments and functions of them, made of literals, operators, the entry point and
a few pure builtins; no attribute, import, loop or class.  Running one can change nothing but the
names of its own module, so the next starts as in a new process.  All others get a process each.
"""

from __future__ import annotations

import ast
import sys
import warnings
from functools import lru_cache

_CHARACTERS = 20_000  # beyond, looking would cost more than a process
_NODES = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Expr, ast.Assert, ast.Assign, ast.Pass,
    ast.Call, ast.keyword, ast.Name, ast.Load, ast.Store, ast.Constant, ast.Subscript, ast.Slice,
    ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Compare, ast.UnaryOp, ast.BinOp, ast.BoolOp,
    ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
_BUILTINS = frozenset({
    "abs", "bool", "float", "int", "len", "list", "max", "min", "range", "round", "set", "sorted",
    "str", "sum", "tuple",
})  # fmt: skip


@lru_cache(256)  # a task's tests judge many programs
def is_plain(entry_point: str, preamble: str, test: str) -> bool:
    """Whether these tests leave nothing behind, whatever plain data the program answers."""
    if len(preamble) + len(test) > _CHARACTERS:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before, tests = ast.parse(preamble), ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(map(_only_imports, before.body)) and _is_pure(tests, {entry_point, "candidate"})


def _only_imports(statement: ast.stmt) -> bool:
    """Whether it imports from the standard library, and no more."""
    if isinstance(statement, ast.ImportFrom):
        names = [statement.module or ""]
    elif isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    else:
        return False
    return all(name.partition(".")[0] in sys.stdlib_module_names for name in names)


def _is_pure(tests: ast.Module, given: set[str]) -> bool:
    used: set[str] = set()
    bound = set(given)
    for node in ast.walk(tests):
        if not isinstance(node, _NODES):
            return False
        if isinstance(node, ast.FunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
    return used <= bound | _BUILTINS
