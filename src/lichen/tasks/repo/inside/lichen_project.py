"""What runs inside the sandbox: the project with one function given by somebody else.

`answer` stands at the beginning of a program: it imports the project, from sources that came
with the task, with the program's function in the place of the project's own.  `check` is the
test: it runs some of the project's tests; where the program is in another process, the function
in the project passes every call on to it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_CALL, _OMITTED, _BARE = "__lichen_call__", "__lichen_omitted__", "__lichen_bare__"


def answer(
    namespace: dict[str, Any],
    entry: str,
    program: str,
    *,
    module: str,
    line: int,
    files: Mapping[str, tuple[str, str]],
) -> None:
    """Import ``module`` with ``program``'s function ``entry`` for the one defined in ``line``.

    ``files`` is {module: (file, source)}.
    """
    _step_aside()
    file, text = files[module]
    tree = _with_answer(ast.parse(text), line, entry, ast.parse(program))
    sys.meta_path.insert(0, Finder({**files, module: (file, tree)}))

    def bare(given: Callable[..., Any]) -> Callable[..., Any]:
        namespace[entry] = given  # before other decorators: those the tests' side puts on too
        return given

    setattr(builtins, _BARE, bare)
    importlib.import_module(module)


def check(
    candidate: Callable[..., Any], module: str, file: str, line: int, tests: Sequence[str]
) -> None:
    """Run the project's ``tests`` (pytest's ids); raises what the first failing one raised."""
    import pytest

    _step_aside()
    root = next(path for path in sys.path if os.path.exists(f"{path}/{tests[0].split('::')[0]}"))
    os.environ |= {"HOME": "/tmp", "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis"}  # noqa: S108
    os.devnull = "/tmp/null"  # noqa: S108 (there is no /dev)
    open(os.devnull, "w").close()
    os.chdir(root)
    sys.dont_write_bytecode = True
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        with open(file, "rb") as text:
            tree = _with_proxy(ast.parse(text.read()), line, candidate)
        sys.meta_path.insert(0, Finder({module: (file, tree)}))
    judge = Judge(tests)
    paths = list(dict.fromkeys(test.split("::")[0] for test in tests))
    arguments = ["-x", "--basetemp=/tmp/pytest", *options(), *paths]
    code = pytest.main(arguments, plugins=[judge])
    if isinstance(judge.error, NameError):  # the sandbox would take it for a sign to run unsplit
        raise AssertionError(f"NameError: {judge.error}") from None
    if judge.error is not None:
        raise judge.error
    if judge.passed != set(tests):
        missing = sorted(set(tests) - judge.passed)
        raise AssertionError(f"pytest ended with {int(code)} before {missing[0]}")


_ASIDE: list[ModuleType] = []


def _step_aside() -> None:
    """Free the names of the sandbox's own modules: projects have folders called "tests"."""
    _ASIDE.extend(sys.modules.pop(name) for name in ("tests", "program") if name in sys.modules)


# What plugins add to every run has to go: other processes, another order, reports, fresh seeds.
_TAMED = {
    "xdist": "-n0",
    "pytest_cov": "--no-cov",
    "hypothesispytest": "--hypothesis-seed=0",
}


def options() -> list[str]:
    """The options of pytest that keep a run quiet, repeatable, and out of the project's folder."""
    alone = "PYTEST_DISABLE_PLUGIN_AUTOLOAD" in os.environ
    found = () if alone else metadata.entry_points(group="pytest11")
    installed = {point.name for point in found}
    tamed = [option for name, option in _TAMED.items() if name in installed]
    return ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tamed]


class Judge:
    """A pytest plugin that runs the wanted tests only, and keeps the first failure."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._tests = list(tests)
        self.passed: set[str] = set()
        self.error: BaseException | None = None

    def pytest_cmdline_main(self, config: Any) -> None:
        """Before the run begins: no report file, and our finder before pytest's own.

        That one takes modules whose docstrings are tests from their files.
        """
        sys.meta_path.sort(key=lambda finder: not isinstance(finder, Finder))
        if hasattr(config.option, "xmlpath"):
            config.option.xmlpath = None

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """By id, in the order of the ids; file arguments alone would run all of a file."""
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in self._tests if test in found]

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """The outcome of one phase of a test."""
        if call.excinfo is None:
            if call.when == "call":
                self.passed.add(item.nodeid)
            return
        self.passed.discard(item.nodeid)
        if self.error is None:
            self.error = call.excinfo.value

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot be collected, in its last line."""
        if report.failed and self.error is None:
            self.error = AssertionError(str(report.longrepr).strip().splitlines()[-1])

    def pytest_internalerror(self, excinfo: Any) -> None:
        """A failure of pytest itself."""
        self.error = self.error or excinfo.value


class Finder(MetaPathFinder):
    """Imports modules from {name: (file, source or syntax tree)} before any other way."""

    def __init__(self, modules: Mapping[str, tuple[str, str | ast.Module]]) -> None:
        self._modules = modules

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Files are told as they lie in the project, if that can be read here."""
        if name not in self._modules:
            return None
        file, code = self._modules[name]
        roots = (root for root in sys.path if os.path.exists(f"{root}/{file}"))
        place = file if os.path.isabs(file) else f"{next(roots, '/project')}/{file}"
        package = os.path.basename(file) == "__init__.py"
        return importlib.util.spec_from_file_location(
            name,
            place,
            loader=_Loader(name, place, code),
            submodule_search_locations=[os.path.dirname(place)] if package else None,
        )


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, code: str | ast.Module) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from what came with the task; the file is not looked at."""
        return compile(self._code, self.path, "exec", dont_inherit=True)


def _locate(tree: ast.Module, line: int) -> tuple[list[ast.stmt], int]:
    """The body that holds the function defined in this line, and its place in there.

    Not by name: a perturbation of the task may have changed that.
    """
    for body in (tree.body, *(n.body for n in tree.body if isinstance(n, ast.ClassDef))):
        for place, node in enumerate(body):
            if isinstance(node, Definition) and node.lineno == line:
                return body, place
    raise LookupError(f"no function in line {line}")


def _with_answer(tree: ast.Module, line: int, entry: str, program: ast.Module) -> ast.Module:
    """The module with the program's function in its place, and what else the program brings."""
    written = [n for n in program.body if isinstance(n, Definition) and n.name == entry]
    if not written:
        raise NameError(f"the program does not define {entry}()")
    given = written[-1]
    body, place = _locate(tree, line)
    own = body[place]
    assert isinstance(own, Definition)
    given.decorator_list = [*own.decorator_list, ast.Name(_BARE, ast.Load())]
    given.name = own.name
    body[place] = given
    if entry != own.name:  # it may call itself by the name that it was given
        body.insert(place + 1, _alias(entry, own.name))
    known = set(_bound(tree.body))
    extras = [
        node
        for node in program.body
        if node is not given
        and isinstance(node, (*Definition, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign))
        and not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
        and not known & set(_bound([node]))
    ]
    top = next(i for i, node in enumerate(tree.body) if given in ast.walk(node))
    tree.body[top:top] = extras
    return ast.fix_missing_locations(tree)


def _alias(name: str, value: str) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], ast.Name(value, ast.Load()))


def _bound(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The names that statements of a module bind, those inside functions and classes left out."""
    for node in body:
        if isinstance(node, Definition):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        else:
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.stmt):
                    yield from _bound([part])
                elif isinstance(part, ast.ExceptHandler):
                    yield from _bound(part.body)
                else:
                    names = (n for n in ast.walk(part) if isinstance(n, ast.Name))
                    yield from (n.id for n in names if isinstance(n.ctx, ast.Store))


def _with_proxy(tree: ast.Module, line: int, candidate: Callable[..., Any]) -> ast.Module:
    """The module with a function that passes its calls on to ``candidate``.

    Arguments that the caller leaves out are left out there too: the default belongs to the
    function, and may be an object that cannot cross.
    """
    setattr(builtins, _CALL, _Forward(candidate))
    setattr(builtins, _OMITTED, _Forward.OMITTED)
    body, place = _locate(tree, line)
    own = body[place]
    assert isinstance(own, ast.FunctionDef)
    arguments = own.args
    omitted = ast.Name(_OMITTED, ast.Load())
    arguments.defaults = [omitted for _ in arguments.defaults]
    arguments.kw_defaults = [omitted if d else None for d in arguments.kw_defaults]

    def named(group: Sequence[ast.arg]) -> ast.expr:
        values: list[ast.expr] = [ast.Name(a.arg, ast.Load()) for a in group]
        return ast.Dict([ast.Constant(a.arg) for a in group], values)

    def whole(group: ast.arg | None) -> ast.expr:
        return ast.Name(group.arg, ast.Load()) if group else ast.Constant(None)

    call = ast.Call(
        ast.Name(_CALL, ast.Load()),
        [
            named([*arguments.posonlyargs, *arguments.args]),
            whole(arguments.vararg),
            named(arguments.kwonlyargs),
            whole(arguments.kwarg),
        ],
        [],
    )
    docstring = own.body[:1] if ast.get_docstring(own) is not None else []
    own.body = [*docstring, ast.Return(call)]
    return ast.fix_missing_locations(tree)


class _Forward:
    """Calls the candidate with what the caller gave, and nothing else."""

    OMITTED = object()

    def __init__(self, candidate: Callable[..., Any]) -> None:
        self._candidate = candidate

    def __call__(
        self,
        positional: dict[str, Any],
        rest: tuple[Any, ...] | None,
        named: dict[str, Any],
        more: dict[str, Any] | None,
    ) -> Any:
        given = {k: v for k, v in positional.items() if v is not self.OMITTED}
        arguments: list[Any] = []
        for name, value in positional.items():
            if value is self.OMITTED:
                break
            arguments.append(value)
            del given[name]
        given |= {k: v for k, v in named.items() if v is not self.OMITTED}
        return self._candidate(*arguments, *(rest or ()), **given, **(more or {}))
