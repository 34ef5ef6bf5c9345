"""The comparison as a table in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lichen.report import view, words
from lichen.report.flips import Flip, Side
from lichen.verify.record import Changed, Record

_VERDICT_STYLE = {"accept": "green", "reject": "red", "undecided": "yellow"}
_KIND = {True: "red", False: "green"}
_TONE_STYLE = {"good": "green", "bad": "red", "same": "dim"}


def render_table(record: Record) -> RenderableType:
    """Verdict and figures of a record, original against candidate on every axis."""
    return Group(_table(record), "", *_moved(record), _verdict(record))


def render_flips(found: Sequence[Flip], label: str) -> RenderableType:
    """Every flip with both programs, one below the other; lines that differ are marked."""
    if not found:
        return Text("Both models solve the same tasks and fail the same tasks.")
    parts: list[RenderableType] = []
    for flip in found:
        parts += [
            Text.assemble((flip.task, "bold"), f"  {flip.tasks}  ", (flip.kind, _KIND[flip.lost])),
            _program("original", flip.reference),
            _program(label, flip.candidate),
            "",
        ]
    return Group(*parts)


def render_changes(record: Record) -> str:
    """What scoring again changed, a line for each verdict."""
    if record.rescored is None:
        return ""
    changed = record.rescored.changed
    told = f"{len(changed)} of {words.counted(record.rescored.judged, 'verdict')} changed"
    return "\n".join([f"{told}{':' if changed else '.'}", *map(_change, changed)])


def _change(found: Changed) -> str:
    where = f"{found.task} ({found.perturbation})" if found.perturbation else found.task
    sample = f", sample {found.sample}" if found.sample else ""
    return f"  {found.role} on {found.tasks} {where}{sample}: {found.before} -> {found.after}"


def _program(title: str, side: Side | None) -> RenderableType:
    if side is None:
        return Text(f"  {title}: this answer is not in the run's folder.", style="dim")
    told = Text.assemble("  ", (title, "bold"), f": {side.verdict.replace('_', ' ')}")
    if side.samples > 1:
        told.append(f", {side.passed} of {side.samples} samples pass")
    if side.forgeable:
        told.append(", forgeable", style="yellow")
    if side.detail:
        told.append(f" ({_visible(side.detail)})", style="dim")
    for line in side.lines:
        mark = "| " if line.changed else "  "
        told.append(f"\n    {mark}{_visible(line.text)}", style="" if line.changed else "dim")
    return told


def _visible(text: str) -> str:
    """A program's line without the power to steer a terminal."""
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)


def _moved(record: Record) -> list[Text]:
    """The tasks with another verdict, by name."""
    lines = [
        Text.assemble(f"{c.tasks}, {what}: ", (", ".join(ids), _TONE_STYLE[tone]))
        for c in record.correctness
        for what, ids, tone in view.moved(c)
    ]
    return [*lines, Text()] if lines else []


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
