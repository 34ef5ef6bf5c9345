"""The table of bench/peers.py: medians, and how many times as fast lichen is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

#: What a worker measures, with the table's heading and whether more is better.
COLUMNS = {
    "prefill_256": ("prompt of 256", True),
    "prefill_1024": ("prompt of 1024", True),
    "decode": ("one answer", True),
    "batch_32": ("32 answers", True),
    "load_s": ("load, s", False),
}


def medians(rounds: list[dict[str, Any]]) -> dict[str, float | None]:
    """The median of every column over the rounds."""
    return {
        name: statistics.median(values)
        if (values := [found[name] for found in rounds if found.get(name)])
        else None
        for name in COLUMNS
    }


def ratios(
    peer: dict[str, float | None], lichen: dict[str, float | None] | None
) -> dict[str, float] | None:
    """How many times as fast lichen is, by column."""
    if lichen is None:
        return None
    pairs = {name: (lichen[name], peer[name]) for name in COLUMNS}
    return {
        name: ours / theirs if COLUMNS[name][1] else theirs / ours
        for name, (ours, theirs) in pairs.items()
        if ours and theirs
    }


def markdown(summary: list[dict[str, Any]], title: str) -> str:
    """The table: tokens a second, and in brackets how many times as fast lichen is."""
    heads = ["", *(head for head, _ in COLUMNS.values()), "weights, MB", "peak memory, MB"]
    lines = [title, "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for row in summary:
        if row["rounds"] == 0:
            lines.append(_line([row["row"], row["error"] or "not run", *[""] * (len(heads) - 2)]))
            continue
        cells = [_cell(row, name) for name in COLUMNS]
        sizes = [_megabytes(row["weights_bytes"]), _megabytes(row["peak_rss_bytes"])]
        name = row["row"] if row["rival"] else f"**{row['row']}**"
        lines.append(_line([name, *cells, *sizes]))
    notes = [f"{r['row']}, {k}: {why}" for r in summary for k, why in r["reasons"].items()]
    notes += [f"{r['row']}: {r['error']}" for r in summary if r["error"] and r["rounds"]]
    versions = sorted({row["version"] for row in summary if row["version"]})
    return "\n".join([*lines, "", "; ".join(versions) + ".", *(f"- {note}" for note in notes), ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(row: dict[str, Any], name: str) -> str:
    value = row["medians"][name]
    if value is None:
        return "-"
    ratio = (row["lichen_is_times_faster"] or {}).get(name)
    told = f"{value:.0f}" if value >= 100 else f"{value:.1f}"
    return told if ratio is None else f"{told} ({ratio:.1f}x)"


def _megabytes(count: float | None) -> str:
    return f"{count / 1e6:.0f}" if count else "-"
