"""How a run's outcome is told: a table for people, JSON for tools, two lines for a build's log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lichen.cli.command import wants_json
from lichen.cli.exits import DECISIONS
from lichen.cli.output import emit, emit_json, emit_rich

if TYPE_CHECKING:
    from lichen.verify.record import Record


def report_decision(record: Record, folder: Path, *, model_folder: Path | None) -> int:
    """Print the record, where its files are, and the decision; give the exit code."""
    files = {
        "record": folder / "record.json",
        "completions": folder / "completions.jsonl",
        "report": folder / "report.html",
    }
    if model_folder is not None:
        files["model"] = model_folder
    if wants_json():
        paths = {name: str(path) for name, path in files.items()}
        emit_json({"decision": record.verdict.decision, "paths": paths, "record": record})
    else:
        from lichen.report import render_table

        emit_rich(render_table(record))
        for name, path in files.items():
            emit(f"{name + ':':<12} {path}")
        for line in log_lines(record):
            emit(line)
    return DECISIONS[record.verdict.decision]


def log_lines(record: Record) -> tuple[str, str]:
    """The decision in two lines that a build's log can be searched for."""
    code = DECISIONS[record.verdict.decision]
    figures = "; ".join(
        f"{c.tasks} {100 * c.reference.estimate:.1f}% -> {100 * c.candidate.estimate:.1f}% "
        f"(interval {100 * c.difference.low:+.1f} to {100 * c.difference.high:+.1f} points, "
        f"margin {100 * c.margin:.1f}, smallest detectable drop "
        f"{100 * c.smallest_detectable_drop:.1f})"
        for c in record.correctness
    )
    mark = "UNSAFE " if record.unsafe else ""
    return (
        f"{mark}decision: {record.verdict.decision} (exit code {code})",
        f"evidence: {figures}",
    )
