"""A prompt with a signature out of a sentence, a reference solution and asserts.

As ReCode (Wang et al., arXiv 2212.10264) makes one for MBPP: the reference's signature, and a
docstring with the sentence and the asserts as examples.  So both styles of prompts, and all
perturbations, apply to tasks that were published without one.
"""

from __future__ import annotations

import ast

from lichen.errors import InputError
from lichen.tasks import source
from lichen.tasks.task import Task


def task_of(id: str, text: str, code: str, tests: list[str], where: str) -> Task:
    """The task of a sentence, a reference solution and the lines of a test.

    What the reference defines beside the function that the tests call goes into that function, so
    that the prompt does not give it away, unless the tests or the signature need it.
    """
    tree, test = source.parse(code), source.parse("\n".join(tests))
    if tree is None or test is None:
        raise InputError(f"{where}: its {'code' if tree is None else 'test'} is not Python")
    function = _entry_point(tree, test, where)
    parameters = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    others = [node for node in tree.body if node is not function]
    given = _united(
        [node for node in test.body if _is_import(node)],
        [node for node in others if _is_given(node, function, test)],
    )
    others = [node for node in others if ast.unparse(node) not in map(ast.unparse, given)]
    # What bears a parameter's name is a leftover: the function cannot see it.
    hidden = [node for node in others if not _binds(node) & parameters]
    head, body = _halves(function, hidden)
    preamble = "".join(ast.unparse(node) + "\n\n" for node in given)
    prompt = preamble + head + _docstring(text, test, function.name)
    return Task(
        id=id,
        prompt=prompt,
        entry_point=function.name,
        reference=prompt + body,
        test="\n".join(tests) + "\n",
        preamble=preamble,
    )


def _entry_point(tree: ast.Module, test: ast.Module, where: str) -> source.Function:
    """The function of the reference that the tests call: the last defined, if several."""
    called = _names(test)
    found = [node for node in tree.body if isinstance(node, source.Function)]
    found = [node for node in found if node.name in called]
    if not found:
        raise InputError(f"{where}: its tests call no function that its code defines")
    return found[-1]


def _is_given(node: ast.stmt, function: source.Function, test: ast.Module) -> bool:
    """Whether the prompt has to hold a part of the reference: tests or signature need it."""
    if isinstance(node, ast.ClassDef):
        return True
    signature = [function.args, *function.decorator_list, function.returns or ast.Pass()]
    return bool(_binds(node) & _names(test).union(*map(_names, signature)))


def _united(imports: list[ast.stmt], others: list[ast.stmt]) -> list[ast.stmt]:
    """All statements, equal ones once; the imports of tests first, which answers may use too."""
    return list({ast.unparse(node): node for node in [*imports, *others]}.values())


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _binds(node: ast.stmt) -> set[str]:
    """The names that a top-level statement gives a meaning."""
    match node:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(alias.asname or alias.name).partition(".")[0] for alias in names}
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case _:
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name))
            return {n.id for n in stored if isinstance(n.ctx, ast.Store)}


def _halves(function: source.Function, before: list[ast.stmt]) -> tuple[str, str]:
    """Signature and body of a function, four spaces deep, with statements before its own."""
    own = function.body[1:] if ast.get_docstring(function) is not None else function.body
    function.body = [*before, *own]
    whole = ast.unparse(function)
    function.body = [ast.Pass()]
    head = ast.unparse(function).removesuffix("    pass")
    return head, whole.removeprefix(head) + "\n"


def _docstring(text: str, test: ast.Module, entry_point: str) -> str:
    """The sentence and the asserts as examples, in the form of doctest."""
    asserts = [node.test for node in test.body if isinstance(node, ast.Assert)]
    told = "\n".join([text.strip(), *(_example(condition, entry_point) for condition in asserts)])
    opening = '"""'
    if '"""' in told:
        told = told.replace("\\", "\\\\").replace('"""', r"\"\"\"")
    elif "\\" in told:  # PEP 257
        opening = 'r"""'
    lines = [opening, *told.split("\n"), '"""']
    return "".join("    " * bool(line) + line + "\n" for line in lines)


def _example(condition: ast.expr, entry_point: str) -> str:
    """What is called and what comes out; a condition that says it otherwise is True."""
    match condition:
        case ast.Compare(
            left=ast.Call(func=ast.Name(id=name)) as call, ops=[ast.Eq()], comparators=[right]
        ) if name == entry_point and _is_shown(right):
            return f">>> {ast.unparse(call)}\n{ast.unparse(right)}"
    return f">>> {ast.unparse(condition)}\nTrue"


def _is_shown(expected: ast.expr) -> bool:
    """Whether an expected value is a literal that an interpreter would show; None is not."""
    try:
        return ast.literal_eval(expected) is not None
    except ValueError:
        return False
