"""``lichen report``: the reports of finished runs, written again from their records."""

from __future__ import annotations

from pathlib import Path

import click

from lichen.cli import command as shared
from lichen.cli.output import emit, emit_json, emit_rich


@shared.subcommand("lichen report run")
@click.argument("runs", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
def command(runs: tuple[Path, ...]) -> None:
    """Write and show the reports of runs."""
    from lichen.report import read_run, render_table, write_report

    records = [read_run(folder).record for folder in runs]
    reports = [write_report(folder) for folder in runs]
    if shared.wants_json():
        pairs = zip(reports, records, strict=True)
        emit_json([{"report": str(path), "record": record} for path, record in pairs])
        return
    for path, record in zip(reports, records, strict=True):
        emit_rich(render_table(record))
        emit(f"report: {path}")
