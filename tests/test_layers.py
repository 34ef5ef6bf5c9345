"""Imports go one way; an arrow that points back fails here with both names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lichen

PACKAGE = Path(lichen.__file__).parent

#: Part of the package -> what it may import.  A part may always import itself.
ALLOWED = {
    "errors": set(),
    "completion": set(),
    "sandbox": set(),
    "stats": set(),
    "tensor": {"schemes", "_core"},  # for type checking only
    "chat_template": set(),
    "tokenizer": {"errors", "chat_template"},
    "row_blocks": set(),
    "reuse": set(),
    "schemes": {"errors", "row_blocks", "reuse", "tensor", "_core"},  # _core: trellis codes
    "solvers": {"errors", "row_blocks", "reuse", "tensor", "schemes", "_core"},
    "recipe": {"errors", "tensor", "schemes", "solvers"},
    "graph": set(),
    "read_ahead": set(),
    "reference": {"graph", "tensor", "schemes"},
    "models": {"errors", "graph"},
    "engine": {
        *("errors", "graph", "read_ahead", "row_blocks", "reuse", "tensor", "schemes", "_core"),
    },
    "code_text": {"errors"},
    "calibration": {"errors", "code_text"},
    "hub_bars": set(),
    # _core: codes of GGUF files, and rows that it reads by itself
    "checkpoint": {
        *("errors", "hub_bars", "row_blocks", "reuse", "tensor", "schemes", "tokenizer", "_core"),
    },
    "quantize": {
        *("errors", "row_blocks", "reuse", "tensor", "schemes", "solvers", "recipe"),
        *("checkpoint", "engine", "graph", "models", "tokenizer"),
        *("calibration", "code_text", "read_ahead"),
    },
    "export": {"errors", "tensor", "schemes", "checkpoint", "models"},
    "self_check": {"engine", "models", "schemes", "solvers", "tensor"},
    "loading": {
        *("errors", "tensor", "completion", "tokenizer", "models"),
        *("checkpoint", "engine"),
    },
    "tasks": {"errors", "hub_bars", "sandbox"},  # sandbox: to try the user's own project
    "perturb": {"errors", "tasks"},
    # loading, engine, _core: by its child processes alone
    "measure": {"errors", "completion", "loading", "engine", "_core"},
    "verify": {
        *("errors", "completion", "code_text", "tasks", "perturb", "sandbox"),
        *("measure", "stats", "row_blocks"),
    },
    "disk_model": {"models", "checkpoint", "tokenizer", "engine", "loading", "verify"},
    "remote": {"errors", "completion", "verify"},
    "report": {"errors", "measure", "verify"},
}
#: Parts that join everything.
TOP = {"__init__", "__main__", "again", "check", "cli", "invocation", "one_model", "pair"}


def imports_of(path: Path) -> set[str]:
    """The parts of lichen that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            inside = {f"{base}.{alias.name}" for alias in node.names}
            found |= inside if base == "lichen" else {base}
    parts = {name.split(".")[1] for name in found if name.startswith("lichen.")}
    return parts - {"__version__"}


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    folder = ("lichen", *path.relative_to(PACKAGE).parts[:-1])
    base = folder[: len(folder) - node.level + 1]
    return ".".join((*base, node.module) if node.module else base)


FILES = sorted(p for p in PACKAGE.rglob("*.py") if "data" not in p.relative_to(PACKAGE).parts)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in TOP:
        return
    forbidden = imports_of(path) - ALLOWED[part] - {part}
    assert not forbidden, f"{part} must not import {', '.join(sorted(forbidden))}"
