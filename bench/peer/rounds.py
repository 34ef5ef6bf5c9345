"""Rows of bench/peers.py: what is run, once a round, and the file of the rounds that were run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKERS = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One engine with one set of weights."""

    name: str
    python: Path
    worker: str
    weights: str  # a key of `Weights.path`
    rival: str | None = None  # the row of lichen that it is compared with
    job: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


class PeerError(Exception):
    """Why a row has no figures."""


def measure_row(row: Row, weights: Path, shared: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Run a row's worker once."""
    if not row.python.exists():
        raise PeerError(f"there is no {row.python}; see `make peers`")
    job = json.dumps({"model": str(weights), **shared, **row.job})
    variables = {**os.environ, "OMP_NUM_THREADS": str(shared["threads"]), **row.environment}
    command = [str(row.python), str(WORKERS / row.worker), job]
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"took more than {timeout:.0f} s") from None
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        words = done.stderr.strip().splitlines()
        raise PeerError(f"ended with {how}" + (f": {words[-1][:160]}" if words else ""))
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


class Rounds:
    """The rounds that were run, in a file that only grows."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._found: dict[tuple[str, int], dict[str, Any]] = {}
        for line in _lines(path):
            if line["key"] == key:
                self._found[line["row"], line["round"]] = line["found"]

    def holds(self, row: Row, number: int) -> bool:
        """Whether a row has been measured in a round."""
        return (row.name, number) in self._found

    def add(self, row: Row, number: int, found: dict[str, Any]) -> None:
        """Keep a finished round."""
        self._found[row.name, number] = found
        line = {"key": self._key, "row": row.name, "round": number, "found": found}
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")

    def of(self, row: Row) -> list[dict[str, Any]]:
        """All rounds of a row."""
        return [found for (name, _), found in self._found.items() if name == row.name]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a JSONL file; a last one that was cut off is left out."""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
