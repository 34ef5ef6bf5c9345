"""llama.cpp's own formats of a model: their size and how far they lie from it.

    python -m bench.kquants MODEL [--types Q4_K_M ...] [--imatrix] [--beside FOLDER ...]

MODEL is a folder in full precision.  llama.cpp makes a file of every type from MODEL as float16,
and answers with its own kernels; KL divergence is against lichen running MODEL, on code that no
calibration saw.  --imatrix gives llama.cpp the mean squares of all inputs on lichen's calibration
text: the same text that the calibrated recipes see.  --beside measures folders that `lichen
quantize` made in the same way.  `make llama-cpp` makes the environment that --python names.
Figures are kept in --out, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
from bench.studying.reference import KeptLogits, Reference

from lichen import calibration, models
from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.gguf_names import gguf_name
from lichen.checkpoint.registry import default_cache, resolve
from lichen.engine.machine import choose_isa, choose_threads
from lichen.engine.walk import Walk
from lichen.export import export
from lichen.loading import load
from lichen.recipe import Calibration
from lichen.solvers.statistics import Collector
from lichen.verify import divergence

WORKER = Path(__file__).with_name("llama_types.py")
TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_1", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "Q3_K_M")


class Row(msgspec.Struct, kw_only=True):
    """One file or folder: megabytes of weights, KL divergence in nats, and top-1 agreement."""

    name: str
    megabytes: float
    kld: float
    kld_p99: float
    top1: float
    nll: float


class Comparison:
    """A model, the distributions that it gives, and what others make of it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._model = resolve(args.model, cache=default_cache())
        self._out: Path = args.out / open_checkpoint(self._model).digest()[:16]
        self._python: Path = args.python
        self._threads: int = choose_threads(args.threads)
        self._out.mkdir(parents=True, exist_ok=True)
        self._reference = Reference(self._model, self._out, self._threads)

    def folder(self, path: Path) -> Row:
        """A folder that lichen made."""
        model = load(path, threads=self._threads)
        found = self._measure(path.name, open_checkpoint(path).size_bytes, model)
        model.close()
        return found

    def type(self, kind: str, imatrix: bool) -> Row:
        """A file of llama.cpp's."""
        name = f"{kind} imatrix" if imatrix else kind
        kept = self._out / f"{name.replace(' ', '-')}.json"
        if kept.exists():
            return msgspec.json.decode(kept.read_bytes(), type=Row)
        file, logits = self._out / "model.gguf", self._out / "logits.f32"
        given = ["--imatrix", str(self._means())] if imatrix else []
        self._llama("quantize", str(self._float16()), str(file), kind, *given)
        self._llama("logits", str(file), str(self._windows()), str(logits))
        rows = np.memmap(logits, np.float32, "r").reshape(len(self._reference.logprobs), -1)
        said = KeptLogits(self._reference.tokenizer, rows)
        found = self._measure(name, file.stat().st_size, said)
        kept.write_bytes(msgspec.json.encode(found))
        file.unlink()
        logits.unlink()
        return found

    def _measure(self, name: str, size: int, candidate: divergence.TokenModel) -> Row:
        found = self._reference.against(candidate)
        return Row(
            name=name,
            megabytes=size / 1e6,
            kld=found.kld_mean,
            kld_p99=found.kld_p99,
            top1=found.top1_agreement,
            nll=found.nll_difference,
        )

    def _windows(self) -> Path:
        path = self._out / "windows.json"
        path.write_text(json.dumps(self._reference.windows), "utf-8")
        return path

    def _float16(self) -> Path:
        path = self._out / "float16.gguf"
        if not path.exists():
            export(self._model, path, type="F16")
        return path

    def _means(self) -> Path:
        """Mean squares of the inputs of every product but the head, by GGUF names."""
        path = self._out / "imatrix.npz"
        if not path.exists():
            source, size = open_checkpoint(self._model), Calibration(sequences=32)
            pieces = calibration.sequences(
                calibration.standard_library(),
                self._reference.tokenizer.encode_literally,
                count=size.sequences,
                length=size.length,
                seed=size.seed,
            )
            graph = models.build(source.config)
            walk = Walk(graph, source.read, pieces, isa=choose_isa(None), threads=self._threads)
            means: dict[str, np.ndarray] = {}
            for stop in walk:
                collector = Collector(stop.width, stop.tokens, frozenset())
                for piece in stop.inputs():
                    collector.add(piece)
                seen = collector.result().mean_square
                means |= {gguf_name(op.weight): seen for op in stop.linears}
            means = {name: seen for name, seen in means.items() if name.startswith("blk.")}
            np.savez(path.with_suffix(".part.npz"), **means)
            path.with_suffix(".part.npz").rename(path)
        return path

    def _llama(self, *arguments: str) -> None:
        command = [self._python, "-P", WORKER, "--threads", str(self._threads), *arguments]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    """Measure one after the other, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a folder, or a name that was fetched")
    parser.add_argument("--types", nargs="*", default=list(TYPES), metavar="TYPE")
    parser.add_argument("--imatrix", action="store_true")
    parser.add_argument("--beside", nargs="*", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--python", type=Path, default=Path("build/llama-cpp/bin/python"))
    parser.add_argument("--out", type=Path, default=Path("build/kquants"))
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    comparison = Comparison(args)
    print("| | MB | KLD | p99 | top-1 | NLL |\n|---|---:|---:|---:|---:|---:|", flush=True)
    files = (comparison.type(kind, args.imatrix) for kind in args.types)
    for row in chain(files, map(comparison.folder, args.beside)):
        print(
            f"| {row.name} | {row.megabytes:.0f} | {row.kld:.4f} | {row.kld_p99:.3f}"
            f" | {100 * row.top1:.1f}% | {row.nll:+.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
