"""Reports on a run, made from its record and nothing else: HTML, Markdown and a terminal table."""

from __future__ import annotations

from pathlib import Path

from lichen.report.flips import Flip, find_flips
from lichen.report.html import render_html
from lichen.report.markdown import render_markdown
from lichen.report.run import Run, read_run
from lichen.report.terminal import render_changes, render_flips, render_table

__all__ = [
    "Flip",
    "Run",
    "find_flips",
    "read_run",
    "render_changes",
    "render_flips",
    "render_html",
    "render_markdown",
    "render_table",
    "write_report",
]


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` and ``report.md`` beside the record; the path of the HTML.

    Each file is written beside and renamed, so that none is ever half there.  InputError when
    the folder holds no record.
    """
    run = read_run(run_dir)
    _write(run_dir / "report.md", render_markdown(run.record))
    return _write(run_dir / "report.html", render_html(run))


def _write(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return path
