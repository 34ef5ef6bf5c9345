"""`repo:PATH`: the functions of the user's own Python project, judged by its own tests.

The project's pytest suite is run once, with a look at which test calls which function.  Each
function that passing tests call becomes a task: the model sees its signature and docstring, with
the imports and the signatures of what it uses, and writes the body; the tests that called it are
run against the project with the answer in the function's place.  A method is written as a
function at the margin, its class shown before it.
"""

from __future__ import annotations

import os
import site
import sysconfig
from collections import Counter
from pathlib import Path

from lichen.errors import InputError, ResourceError
from lichen.sandbox import Sandbox, SandboxError
from lichen.tasks.repo import choosing, coverage, functions, trial
from lichen.tasks.repo.composing import PROMPT_CHARACTERS, compose
from lichen.tasks.task import Task, TaskSet


def load(path: Path) -> TaskSet:
    """The tasks of the project in this folder; `InputError` says what is missing there."""
    if not path.is_dir():
        raise InputError(f"repo:{path}: give the folder of a Python project; this is none")
    project = path.resolve()
    if os.geteuid() == 0 and project.stat().st_mode & 0o005 != 0o005:
        raise InputError(
            f"repo:{path}: under root, programs run as nobody, who cannot read this folder: "
            f"chmod o+rx {path}, or run lichen as its owner"
        )
    covered = coverage.measure(project)
    modules = functions.modules(project, covered)
    found, passed_over = functions.find(modules)
    tests = choosing.by_function(covered.tests)
    left_out = Counter(passed_over)
    tasks: list[Task] = []
    for function in found:
        chosen = choosing.choose(tests.get(function.place, ()))
        task = compose(function, modules, chosen) if chosen else None
        if task is None:
            called = function.place in tests
            left_out["tests too slow" if called else "called by no passing test"] += 1
        elif len(task.prompt) > PROMPT_CHARACTERS:
            left_out[f"prompt above {PROMPT_CHARACTERS} characters"] += 1
        else:
            tasks.append(task)
    if not tasks:
        raise InputError(
            f"repo:{path}: its {len(covered.tests)} passing tests call none of its functions that "
            f"could be asked for (left out: {_told(left_out)})"
        )
    own, shared = readable(project, covered.libraries)
    try:
        with Sandbox(unsafe=True, readable=shared, readable_by_tests=own) as sandbox:
            kept, unsound = trial.sound(tasks, sandbox)
    except SandboxError as error:
        raise ResourceError(f"repo:{path}: its tasks cannot be tried: {error}") from error
    if not kept:
        raise InputError(f"repo:{path}: no task holds; the first, {': '.join(unsound[0])}")
    return TaskSet(
        name=f"repo:{project.name}",
        tasks=tuple(kept),
        source=_source(path, covered, len(found) + sum(passed_over.values()), left_out, unsound),
        readable=shared,
        readable_by_tests=own,
        left_out=tuple(unsound),
    )


def readable(project: Path, libraries: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what tests may read: the project; what programs may read too: packages, libraries).

    Where the project itself is installed as a copy, programs would find their answer in it: then
    they get no packages, and run beside their tests if they need them.
    """
    roots = tuple(map(str, coverage.source_roots(project)))
    packages = [*site.getsitepackages(), sysconfig.get_path("purelib"), *_user_packages()]
    folders = tuple(dict.fromkeys(os.path.realpath(p) for p in packages if os.path.isdir(p)))
    own = {p.name for root in roots for p in Path(root).iterdir() if _is_importable(p)}
    if any((Path(folder) / name).exists() for folder in folders for name in own):
        return (*roots, *folders), (str(coverage.INSIDE), *libraries)
    return roots, (str(coverage.INSIDE), *folders, *libraries)


def _user_packages() -> list[str]:
    return [site.getusersitepackages()] if site.ENABLE_USER_SITE else []


def _is_importable(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").exists()


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "none"


def _source(
    path: Path,
    covered: coverage.Coverage,
    total: int,
    left_out: Counter[str],
    unsound: list[tuple[str, str]],
) -> str:
    """Where the tasks come from, what was left out and what fails, in one line."""
    counts = left_out + Counter(reason.split(":")[0] for _, reason in unsound)
    failing = len(covered.failing)
    fails = f"; {failing} of its tests fail already, first {covered.failing[0]}" if failing else ""
    return f"{path} ({total} functions, left out: {_told(counts)}{fails})"
