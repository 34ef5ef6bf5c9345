"""The quantization study: schemes x solvers on a model, in one table with plots.

    python -m bench.study MODEL [--out DIR] [--only FAMILY ...] [--pass-at-1 N] [--list]

Every recipe of the grid (`studying/grid.py`) is applied to MODEL, which should be full precision
(4-bit comparisons on a GGUF are void: its weights lie on a grid already), and what comes out is
measured: bits, size, errors, divergence on code that no calibration saw, decode speed, time and
memory of quantizing; pass@1 of the presets with its interval, on the first N of HumanEval's tasks
(--pass-at-1; 0 for none).  Each recipe's figures are kept in DIR as soon as they are there, and the
same command goes on where it was stopped.  DIR gets study.md with its plots, study.html and
study.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.studying.grid import FAMILIES, cells
from bench.studying.measuring import Study
from bench.studying.page import write_page

from lichen.checkpoint.registry import default_cache, resolve


def main() -> None:
    """Measure what is not measured yet, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a folder, or a name that `lichen models fetch` has fetched")
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--pass-at-1", type=int, default=164, metavar="N", dest="tasks")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--list", action="store_true", help="Name the recipes and stop.")
    args = parser.parse_args()
    chosen = cells(args.only)
    if args.list:
        for cell in chosen:
            print(f"{cell.family:<14} {cell.name}")
        return
    model = resolve(args.model, cache=default_cache())
    with Study(model, args.out, tasks=args.tasks, threads=args.threads) as study:
        rows = study.rows(chosen)
    print(write_page(args.out, model, rows))


if __name__ == "__main__":
    main()
