"""``lichen report``: the reports of finished runs, written again from their records."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lichen.cli import command as shared
from lichen.cli.output import emit, emit_json, emit_rich

if TYPE_CHECKING:
    from lichen.report import Flip, Run


@shared.subcommand("lichen report run")
@click.argument("runs", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option(
    "--flips", is_flag=True, help="Show each task with another verdict and both its programs."
)
def command(runs: tuple[Path, ...], flips: bool) -> None:
    """Write and show the reports of runs."""
    from lichen.report import read_run, render_table, write_report

    found = [read_run(folder) for folder in runs]
    if flips:
        _show_flips(runs, found)
        return
    reports = [write_report(folder) for folder in runs]
    if shared.wants_json():
        pairs = zip(reports, found, strict=True)
        emit_json([{"report": str(path), "record": run.record} for path, run in pairs])
        return
    for path, run in zip(reports, found, strict=True):
        emit_rich(render_table(run.record))
        emit(f"report: {path}")


def _show_flips(folders: tuple[Path, ...], runs: list[Run]) -> None:
    from lichen.report import find_flips, render_flips
    from lichen.report.view import candidate_label

    if shared.wants_json():
        emit_json(
            [
                {"run": str(folder), "flips": [_plain(flip) for flip in find_flips(run)]}
                for folder, run in zip(folders, runs, strict=True)
            ]
        )
        return
    for run in runs:
        emit_rich(render_flips(find_flips(run), candidate_label(run.record)))


def _plain(flip: Flip) -> dict[str, Any]:
    """A flip with its programs as text."""
    plain = asdict(flip)
    for name, side in (("reference", flip.reference), ("candidate", flip.candidate)):
        if side is not None:
            del plain[name]["lines"]
            plain[name]["program"] = side.program
    return plain
