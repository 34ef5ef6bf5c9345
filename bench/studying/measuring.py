"""One recipe applied and measured, and the figures kept."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
from bench.studying.grid import Cell
from bench.studying.reference import Reference

from lichen import __version__
from lichen.calibration import standard_library
from lichen.checkpoint import manifest, open_checkpoint
from lichen.checkpoint.manifest import LayerRecord
from lichen.checkpoint.quantization_config import TIED_HEAD, is_embedding
from lichen.engine import Generation
from lichen.engine.sampling import Sampler
from lichen.loading import LanguageModel, load

_POLL_SECONDS = 0.1


class Row(msgspec.Struct, kw_only=True):
    """The figures of one recipe; ``fault`` says why there are none.

    bits           of the blocks' weights, scales included; not of embedding and head
    megabytes      of all weight files
    error, output_error  means over layers of relative squared errors (weights; products on text)
    decode         tokens a second, one answer
    seconds, peak_megabytes  of quantizing, in a process of its own
    passed         tasks solved, of ``tasks``
    """

    family: str
    name: str
    digest: str
    fault: str = ""
    bits: float = 0
    megabytes: float = 0
    error: float = 0
    output_error: float | None = None
    kld: float = 0
    kld_p99: float = 0
    top1: float = 0
    nll: float = 0
    nll_se: float = 0
    decode: float = 0
    seconds: float = 0
    peak_megabytes: float = 0
    passed: int = 0
    tasks: int = 0


class Study:
    """A model, of which the recipes make folders that are measured and deleted."""

    def __init__(self, model: Path, out: Path, *, tasks: int, threads: int | None) -> None:
        self._model, self._out, self._tasks, self._threads = model, out, tasks, threads
        out.mkdir(parents=True, exist_ok=True)
        self._source = open_checkpoint(model).digest()
        self._reference: Reference | None = None

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return self._out / "model"

    def rows(self, cells: Sequence[Cell]) -> list[Row]:
        """The figures of all recipes, measured now or before."""
        found = []
        for number, cell in enumerate(cells, 1):
            kept = self._out / "rows" / f"{_slug(cell)}.json"
            row = self._kept(kept, cell)
            if row is None:
                row = self._measure(cell)
                kept.parent.mkdir(exist_ok=True)
                kept.write_bytes(msgspec.json.format(msgspec.json.encode(row), indent=2))
            outcome = row.fault or f"{row.bits:.2f} bits, KLD {row.kld:.4f}, {row.seconds:.0f} s"
            print(f"[{number}/{len(cells)}] {cell.family}: {cell.name}: {outcome}", flush=True)
            found.append(row)
        return found

    def _digest(self, cell: Cell) -> str:
        """Of all that decides about the figures: what differs in it is measured anew."""
        facts = (__version__, self._source, cell.prose, self._tasks_for(cell), cell.text)
        return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()

    def _kept(self, path: Path, cell: Cell) -> Row | None:
        try:
            row = msgspec.json.decode(path.read_bytes(), type=Row)
        except (OSError, msgspec.DecodeError):
            return None
        return row if row.digest == self._digest(cell) and not row.fault else None

    def _measure(self, cell: Cell) -> Row:
        row = Row(family=cell.family, name=cell.name, digest=self._digest(cell))
        row.fault = self._quantize(cell, row)
        if row.fault:
            return row
        made = manifest.read(self._folder)
        assert made is not None
        errors = [layer.output_error for layer in made.layers if layer.output_error is not None]
        row.bits = _bits(made.layers)
        row.megabytes = made.bytes / 1e6
        row.error = float(np.mean([layer.error for layer in made.layers]))
        row.output_error = float(np.mean(errors)) if errors else None
        candidate = load(self._folder, threads=self._threads)
        self._diverge(candidate, row)
        row.decode = decode_rate(candidate)
        if tasks := self._tasks_for(cell):
            row.passed, row.tasks = self._pass_at_1(candidate, tasks), tasks
        candidate.close()
        return row

    def _quantize(self, cell: Cell, row: Row) -> str:
        """Make the folder in a process of its own; what went wrong, or nothing."""
        recipe = self._out / "recipe.toml"
        recipe.write_text(cell.text, encoding="utf-8")
        command = [sys.executable, "-m", "lichen", "quantize", str(self._model)]
        command += ["--recipe", str(recipe), "--out", str(self._folder), "--force"]
        if cell.prose:
            command += ["--calibration", str(prose(self._out / "prose.txt"))]
        if self._threads:
            command += ["--threads", str(self._threads)]
        started = time.monotonic()
        with (self._out / "said.txt").open("w+", encoding="utf-8") as said:
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
            while child.poll() is None:
                row.peak_megabytes = max(row.peak_megabytes, peak_megabytes(child.pid))
                time.sleep(_POLL_SECONDS)
            row.seconds = time.monotonic() - started
            said.seek(0)
            lines = said.read().strip().splitlines()
        return (lines[-1] if lines else "failed") if child.returncode else ""

    def _diverge(self, candidate: LanguageModel, row: Row) -> None:
        if self._reference is None:
            self._reference = Reference(self._model, self._out, self._threads)
        found = self._reference.against(candidate)
        row.kld, row.kld_p99, row.top1 = found.kld_mean, found.kld_p99, found.top1_agreement
        row.nll, row.nll_se = found.nll_difference, found.nll_difference_se

    def _tasks_for(self, cell: Cell) -> int:
        """Tasks to solve: minutes of work, so for the recipes that people will use."""
        return self._tasks if cell.family == "presets" else 0

    @staticmethod
    def _pass_at_1(candidate: LanguageModel, tasks: int) -> int:
        """HumanEval's first tasks, answered greedily and judged in the sandbox."""
        from bench.studying.solving import solved

        return solved(candidate, tasks)


def _bits(layers: Sequence[LayerRecord]) -> float:
    blocks = [layer for layer in layers if layer.name != TIED_HEAD and not is_embedding(layer.name)]
    weights = [layer.rows * layer.columns for layer in blocks]
    return float(np.average([layer.bits or 0 for layer in blocks], weights=weights))


def peak_megabytes(process: int) -> float:
    """The most memory that a process has held since its program began, while it runs (Linux).

    What the system tells of one that has ended may be the peak of the process that started it.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) / 1e3 if peaks else 0.0


def decode_rate(model: LanguageModel, tokens: int = 48) -> float:
    """Tokens a second of one answer, the best of three."""
    prompt = model.tokenizer.encode("def fibonacci(n):\n")
    best = 0.0
    for _ in range(3):
        generation = Generation(prompt, tokens, lambda token: True, Sampler(0.0, 1.0, 0))
        marks = [time.perf_counter() for _ in model.engine.steps(generation)]
        best = max(best, (len(marks) - 1) / (marks[-1] - marks[0]))
    return best


def prose(path: Path) -> Path:
    """English text of about the size of the code: what is said in the code's docstrings."""
    if not path.exists():
        modules = [ast.parse(document) for document in standard_library().documents]
        nodes = (node for module in modules for node in ast.walk(module))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        said = (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
        path.write_text("\n\n".join(text for text in said if text), encoding="utf-8")
    return path


def _slug(cell: Cell) -> str:
    kept = "".join(c if c.isalnum() else "-" for c in f"{cell.family}-{cell.name}")
    return kept.lower()
