"""Builds of the core beside the installed one, which tests run the programs of."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> str:
    """A program's path: beside the interpreter, or on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def build(folder: Path, switches: dict[str, str], *targets: str) -> Path:
    """The core and its tests, in a folder that stays: only what has changed is compiled again."""
    cmake = tool("cmake")
    defined = {"LICHEN_PYTHON": "OFF", "LICHEN_NATIVE_TESTS": "ON"} | switches
    chosen = ["--target", *targets] if targets else []
    with _by_itself(folder):
        output_of(cmake, "-S", ROOT, "-B", folder, *(f"-D{k}={v}" for k, v in defined.items()))
        output_of(cmake, "--build", folder, "--parallel", "2", *chosen)
    return folder


def installed_core() -> Path | None:
    """The library of the installed module, where pip left it and its sources are these."""
    sources = [ROOT / "CMakeLists.txt", *(ROOT / "native").rglob("*.*")]
    changed = max(_time_of(path) for path in sources if ROOT / "native/tests" not in path.parents)
    newest = max(ROOT.glob("build/cp*/liblichen_native.a"), key=_time_of, default=None)
    return newest if newest and _time_of(newest) > changed else None


def _time_of(path: Path) -> float:
    return path.stat().st_mtime


@contextmanager
def _by_itself(folder: Path) -> Iterator[None]:
    """Tests run in several processes, and two builds in one folder would write the same files."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
