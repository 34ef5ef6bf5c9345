"""Wrong variants of a reference solution: operators, comparisons, constants and bounds changed.

Run as a program, it reads tasks as JSON, ``[[id, reference, preamble, test], ...]``, and writes how
many mutants each had and which of them passed.  Mutants may loop, so it runs in a process of its
own, with an alarm for each of them.
"""

from __future__ import annotations

import ast
import json
import signal
import sys
from collections.abc import Callable, Iterator
from types import CodeType

SWAPS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Add],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.BitOr: [ast.BitAnd],
    ast.BitAnd: [ast.BitOr],
    ast.BitXor: [ast.BitOr],
    ast.RShift: [ast.LShift],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.USub: [ast.UAdd],
}
CALLS = {"min": "max", "max": "min", "all": "any", "any": "all", "sorted": "list"}
CPU_SECONDS_EACH = 0.06

Change = Callable[[ast.AST], None]


def changes(node: ast.AST) -> Iterator[Change]:
    """Ways to make one node of a syntax tree wrong, each to be applied to a copy of it."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for new in SWAPS.get(type(operator), []):
                yield lambda n, place=place, new=new: n.ops.__setitem__(place, new())
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp):
        for new in SWAPS.get(type(node.op), []):
            yield lambda n, new=new: setattr(n, "op", new())
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield lambda n: setattr(n, "value", not n.value)
        elif isinstance(node.value, int | float):
            yield lambda n: setattr(n, "value", n.value + 1)
            yield lambda n: setattr(n, "value", n.value - 1)
        elif isinstance(node.value, str):
            yield lambda n: setattr(n, "value", n.value + "x")
    if isinstance(node, ast.IfExp):
        yield _swap_branches
    if isinstance(node, ast.Slice):
        for part in ("lower", "upper", "step"):
            if getattr(node, part) is not None:
                yield lambda n, part=part: setattr(n, part, None)
    if isinstance(node, ast.Return) and node.value is not None:
        yield lambda n: setattr(n, "value", ast.Constant(None))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield lambda n: setattr(n.func, "id", CALLS[n.func.id])
    if isinstance(node, ast.comprehension) and node.ifs:
        yield lambda n: setattr(n, "ifs", [])
    if isinstance(node, ast.If | ast.While):
        yield lambda n: setattr(n, "test", ast.Constant(True))
        yield lambda n: setattr(n, "test", ast.Constant(False))


def _swap_branches(node: ast.AST) -> None:
    assert isinstance(node, ast.IfExp)
    node.body, node.orelse = node.orelse, node.body


def mutants(reference: str) -> Iterator[ast.Module]:
    """Programs that differ from the reference in one place of its last function's body."""
    tree = ast.parse(reference)
    for place, node in enumerate(_nodes(tree)):
        for number, _ in enumerate(changes(node)):
            wrong = ast.parse(reference)
            target = _nodes(wrong)[place]
            list(changes(target))[number](target)
            yield ast.fix_missing_locations(wrong)


def _nodes(tree: ast.Module) -> list[ast.AST]:
    """The nodes of the body, without annotations and zip's strict, which decide nothing."""
    function = tree.body[-1]
    assert isinstance(function, ast.FunctionDef)
    nodes = [node for statement in function.body[1:] for node in ast.walk(statement)]
    idle = [node.annotation for node in nodes if isinstance(node, ast.AnnAssign)]
    idle += [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "strict"]
    skipped = {id(part) for node in idle for part in ast.walk(node)}
    return [node for node in nodes if id(node) not in skipped]


def passes(program: ast.Module, test: CodeType) -> bool:
    """Whether a program passes the tests in time."""
    names: dict[str, object] = {}
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS_EACH)
        exec(compile(program, "mutant", "exec"), names)
        exec(test, names)
    except BaseException:
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return True


def _time_is_up(*_: object) -> None:
    raise TimeoutError


def main() -> None:
    """Judge the tasks on standard input."""
    signal.signal(signal.SIGVTALRM, _time_is_up)
    found = {}
    for id, reference, preamble, test in json.load(sys.stdin):
        judge = compile(f"{preamble}\n{test}", "test", "exec")
        wrong = list(mutants(reference))
        survivors = [ast.unparse(program) for program in wrong if passes(program, judge)]
        found[id] = (len(wrong), survivors)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
