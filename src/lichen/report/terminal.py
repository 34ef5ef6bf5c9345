"""The comparison as a table in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lichen.report import view
from lichen.verify.record import Record

_VERDICT_STYLE = {"accept": "green", "reject": "red", "undecided": "yellow"}
_TONE_STYLE = {"good": "green", "bad": "red", "same": "dim"}


def render_table(record: Record) -> RenderableType:
    """Verdict and figures of a record, original against candidate on every axis."""
    return Group(_table(record), "", _verdict(record))


def _table(record: Record) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    table.add_column("original", justify="right")
    table.add_column(Text(view.candidate_label(record)), justify="right")
    table.add_column("change", justify="right")
    table.add_column("")
    for number, section in enumerate(view.sections(record)):
        if number:
            table.add_row()
        table.add_row(Text(section.title, style="bold"))
        for row in section.rows:
            modelled = "modelled" if row.kind == "modelled" else ""
            table.add_row(
                Padding(Text(row.label), (0, 0, 0, 2)),
                Text(row.reference),
                Text(row.candidate),
                Text(row.change, style=_TONE_STYLE[row.tone]),
                Text(modelled, style="dim italic"),
            )
    return table


def _verdict(record: Record) -> Panel:
    style = _VERDICT_STYLE[record.verdict.decision]
    body = Text(record.verdict.summary)
    for warning in record.verdict.warnings:
        body.append(f"\n! {warning}", style="yellow")
    title = Text(view.VERDICT_WORD[record.verdict.decision].upper(), style=f"bold {style}")
    return Panel(body, title=title, title_align="left", border_style=style)
