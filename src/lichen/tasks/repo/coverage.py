"""One run of a project's own suite: which tests pass, and which functions each of them calls.

It runs as the user runs it, in an ordinary process of this interpreter: the tests are trusted,
and may need what the sandbox denies.  What then fails in the sandbox is found by `trial`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lichen.errors import InputError
from lichen.tasks.repo.inside import lichen_project

INSIDE = Path(__file__).resolve().parent / "inside"
_SUITE_SECONDS = 1800.0


@dataclass(frozen=True)
class PassingTest:
    """A test that passes: its id, how long it took, and the (file, line) of what it calls."""

    id: str
    seconds: float
    calls: frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Coverage:
    """``modules``: file -> the name under which the suite imported it.  Files are relative.

    ``libraries``: the folders of the shared libraries that were loaded, absolute.
    """

    tests: tuple[PassingTest, ...]
    modules: dict[str, str]
    test_files: frozenset[str]
    failing: tuple[str, ...]
    libraries: tuple[str, ...]


def source_roots(project: Path) -> list[Path]:
    """The folders that the project's imports start from: ``src``, if it has one, and itself."""
    return [folder for folder in (project / "src", project) if folder.is_dir()]


def measure(project: Path) -> Coverage:
    """Run the suite; `InputError` when there is none, or nothing in it passes."""
    if find_spec("pytest") is None:
        raise InputError(
            f"repo:{project} needs pytest beside lichen, and the project's own dependencies: "
            f"{sys.executable} -m pip install pytest"
        )
    with tempfile.TemporaryDirectory(prefix="lichen-suite-") as scratch:
        report = Path(scratch) / "report.json"
        told = _run(project, Path(scratch), report)
        if not report.exists():
            raise InputError(f"repo:{project}: its test suite does not start: {told}")
        return _read(project, json.loads(report.read_text("utf-8")))


def _run(project: Path, scratch: Path, report: Path) -> str:
    """Run pytest; the last line that it printed."""
    path = [str(INSIDE), *map(str, source_roots(project)), os.environ.get("PYTHONPATH", "")]
    command = [
        *(sys.executable, "-B", "-m", "pytest", "-p", "lichen_trace"),
        *("--continue-on-collection-errors", f"--basetemp={scratch / 'tmp'}"),
        *lichen_project.options(),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # as in the sandbox: the ids of parametrized tests may hang on it
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"),
        "LICHEN_TRACE_ROOT": os.path.realpath(project),
        "LICHEN_TRACE_REPORT": str(report),
    }
    try:
        done = subprocess.run(
            command,
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SUITE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"repo:{project}: its test suite takes longer than {_SUITE_SECONDS / 60:.0f} minutes"
        ) from None
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    faults = [line for line in lines if "rror" in line]
    return (faults or lines or [f"pytest ended with code {done.returncode}"])[-1].strip()


def _read(project: Path, report: dict[str, Any]) -> Coverage:
    found, broken = report["tests"], report["broken"]
    if not found:
        why = f" ({broken[0]})" if broken else ""
        raise InputError(f"repo:{project}: pytest finds no tests there{why}")
    tests = tuple(
        PassingTest(name, test["seconds"], frozenset((file, line) for file, line in test["calls"]))
        for name, test in found.items()
        if test["passed"] and test["ran"]
    )
    failing = (*broken, *(name for name, test in found.items() if test.get("failed")))
    if not tests:
        first = f", the first: {failing[0]}" if failing else ""
        raise InputError(f"repo:{project}: none of its {len(found)} tests passes{first}")
    return Coverage(
        tests=tests,
        modules=report["modules"],
        test_files=frozenset(report["test_files"]),
        failing=failing,
        libraries=tuple(report["libraries"]),
    )
