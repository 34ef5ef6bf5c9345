"""Other CPU engines beside lichen, on the same weights: rounds in turn, medians, ratios.

    python -m bench.peers MODEL [--rounds 3] [--only NAME ...] [--isa avx2] [--fresh]

MODEL is a .gguf file, or a name that was fetched.  `make peers` makes the environments under
build.  Each engine runs in a process of its own, once a round, in turn with the others (see
bench/peer/common.py for what it measures); a ratio is lichen's median over the peer's, so above 1
lichen is faster.  Formats that MODEL does not have are made of its weights: bench/requantize.py,
`lichen quantize`.

Finished rounds are kept in OUT/rounds.jsonl and not run again, unless lichen's core, the model or
the workload changed.  A peer that is missing, crashes or takes too long is a line of the table with
the last line of its error; a later call tries it again.  The table is OUT/peers.md, and peers.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.peer.rounds import PeerError, Rounds, Row, measure_row
from bench.peer.table import markdown, medians, ratios
from bench.peer.weights import Weights

import lichen
from lichen import measure
from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.registry import default_cache, resolve
from lichen.engine.machine import choose_isa
from lichen.measure.reading import Reading

WORKLOAD = {
    "prompts": [256, 1024], "tokens": 48, "batch": 32, "batch_prompt": 16, "batch_tokens": 24,
}  # fmt: skip


def environment(name: str) -> Path:
    """The Python of an environment that the Makefile makes."""
    return (Path("build") / name / "bin" / "python").absolute()


def rows(isas: Sequence[str]) -> list[Row]:
    """Every row of lichen, followed by its peers."""
    here, peers, llama = Path(sys.executable), environment("peers/venv"), environment("llama-cpp")
    found = [
        Row("lichen int4", here, "run_lichen.py", "int4"),
        Row("llama.cpp Q4_0", llama, "run_llama.py", "Q4_0", "lichen int4"),
        Row("OpenVINO GenAI Q4_0", peers, "run_openvino.py", "Q4_0", "lichen int4"),
        Row("lichen, the file as it is", here, "run_lichen.py", "given"),
        Row(
            "llama.cpp, the file as it is",
            *(llama, "run_llama.py", "given", "lichen, the file as it is"),
        ),
        Row("lichen int8", here, "run_lichen.py", "int8"),
        Row("llama.cpp Q8_0", llama, "run_llama.py", "Q8_0", "lichen int8"),
        Row("OpenVINO GenAI Q8_0", peers, "run_openvino.py", "Q8_0", "lichen int8"),
        Row("torch dynamic int8", peers, "run_torch.py", "bf16", "lichen int8", {"dtype": "int8"}),
        Row("lichen bfloat16", here, "run_lichen.py", "bf16"),
        Row(
            "transformers bfloat16",
            *(peers, "run_torch.py", "bf16", "lichen bfloat16", {"dtype": "bfloat16"}),
        ),
    ]
    for isa in isas:
        built = environment(f"llama-cpp-{isa}")
        for scheme, kind in (("int4", "Q4_0"), ("int8", "Q8_0")):
            name, forced = f"lichen {scheme}, {isa}", {"LICHEN_ISA": isa}
            found.append(Row(name, here, "run_lichen.py", scheme, None, {}, forced))
            found.append(
                Row(f"llama.cpp {kind}, built for {isa}", built, "run_llama.py", kind, name)
            )
    return found


@dataclass
class Peers:
    """A comparison: its rows, the rounds so far, and why some rows have none."""

    rows: list[Row]
    weights: Weights
    rounds: Rounds
    shared: dict[str, Any]
    timeout: float
    errors: dict[str, str] = field(default_factory=dict)

    def run(self, count: int) -> None:
        """So many rounds of every row; a row that failed is not tried again this time."""
        for number in range(1, count + 1):
            for row in self.rows:
                if row.name not in self.errors and not self.rounds.holds(row, number):
                    self._measure(row, number, count)

    def _measure(self, row: Row, number: int, count: int) -> None:
        print(f"round {number} of {count}: {row.name}", file=sys.stderr, flush=True)
        try:
            weights = self.weights.path(row.weights)
            found = measure_row(row, weights, self.shared, self.timeout)
        except (PeerError, OSError, subprocess.CalledProcessError, ValueError) as error:
            self.errors[row.name] = str(error)
            print(f"  {error}", file=sys.stderr, flush=True)
        else:
            self.rounds.add(row, number, found)

    def summary(self) -> list[dict[str, Any]]:
        """For every row its medians, its ratios, and what went wrong."""
        middle = {row.name: medians(self.rounds.of(row)) for row in self.rows}
        return [
            {
                "row": row.name,
                "rival": row.rival,
                "version": next((f["version"] for f in self.rounds.of(row)), None),
                "rounds": len(self.rounds.of(row)),
                "medians": middle[row.name],
                "lichen_is_times_faster": ratios(middle[row.name], middle.get(row.rival or "")),
                "peak_rss_bytes": max(
                    (f["peak_rss_bytes"] or 0 for f in self.rounds.of(row)), default=None
                ),
                "weights_bytes": self._size(row),
                "error": self.errors.get(row.name),
                "reasons": {k: v for f in self.rounds.of(row) for k, v in f["reasons"].items()},
            }
            for row in self.rows
        ]

    def _size(self, row: Row) -> float | None:
        return (
            measure.size_on_disk(self.weights.path(row.weights)).value
            if self.rounds.of(row)
            else None
        )


def title_of(model: Path, threads: int, rounds: int, limits: dict[str, Reading]) -> str:
    """What was measured on what."""
    read, int8 = limits["read_bandwidth"].value / 1e9, limits["int8_peak"].value / 1e12
    bf16 = limits["bf16_peak"].value / 1e12
    return (
        f"{model.stem} on {measure.processor().name}, {threads} threads, {choose_isa()}: tokens a"
        f" second, medians of {rounds} rounds in turn; in brackets how many times as fast lichen"
        f" is. This machine reads {read:.1f} GB/s and multiplies {int8:.2f} TOPS in int8,"
        f" {bf16:.2f} TFLOPS in bf16."
    )


def key_of(model: Path, shared: dict[str, Any]) -> str:
    """What the figures depend on: lichen itself, the model's file, the workload, the threads."""
    digest, stat = hashlib.sha256(), model.stat()
    for file in sorted(Path(lichen.__file__).parent.rglob("*")):
        if file.suffix in (".py", ".so", ".toml"):
            digest.update(file.read_bytes())
    digest.update(f"{model}:{stat.st_size}:{stat.st_mtime_ns}".encode())
    digest.update(json.dumps(shared, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def main() -> int:
    """Run what is missing, and write the table; 1 where a row has no figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a .gguf file, or a name that was fetched")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one process")
    parser.add_argument("--only", action="append", metavar="NAME", help="rows with this in them")
    parser.add_argument(
        "--isa", action="append", default=[], metavar="ISA",
        help="also lichen forced to ISA against the llama.cpp in build/llama-cpp-ISA; repeat",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("build/peers"))
    parser.add_argument(
        "--fresh", action="store_true", help="forget rounds and weights of earlier calls"
    )
    args = parser.parse_args()
    model = resolve(args.model, cache=default_cache())
    if model.suffix != ".gguf":
        parser.error(f"{model} is no .gguf file, which llama.cpp and OpenVINO need.")
    args.out.mkdir(parents=True, exist_ok=True)
    vocabulary = open_checkpoint(model).config["vocab_size"]
    shared = {"threads": args.threads, "vocabulary": vocabulary, **WORKLOAD}
    if args.fresh:
        (args.out / "rounds.jsonl").unlink(missing_ok=True)
        shutil.rmtree(args.out / "models", ignore_errors=True)
    chosen = [
        row
        for row in rows(args.isa)
        if not args.only or any(word in row.name for word in args.only)
    ]
    peers = Peers(
        chosen,
        Weights(model, args.out, environment("peers/venv")),
        Rounds(args.out / "rounds.jsonl", key_of(model, shared)),
        shared,
        args.timeout,
    )
    limits = measure.measure_limits(threads=args.threads, isa=choose_isa())
    peers.run(args.rounds)
    summary = peers.summary()
    text = markdown(summary, title_of(model, args.threads, args.rounds, limits))
    (args.out / "peers.md").write_text(text, "utf-8")
    (args.out / "peers.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    print(text)
    return 1 if any(row["rounds"] == 0 for row in summary) else 0


if __name__ == "__main__":
    sys.exit(main())
