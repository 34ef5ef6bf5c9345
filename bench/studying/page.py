"""The study's table as Markdown beside its plots, and as one page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import msgspec
from bench.studying.claims import claims
from bench.studying.grid import FAMILIES
from bench.studying.measuring import Row
from bench.studying.plots import plots

from lichen import stats
from lichen.checkpoint import open_checkpoint
from lichen.measure import processor

_COLUMNS = {
    "recipe": lambda r: r.name,
    "bits": lambda r: f"{r.bits:.2f}",
    "MB": lambda r: f"{r.megabytes:.0f}",
    "weight error": lambda r: f"{r.error:.1e}",
    "output error": lambda r: "-" if r.output_error is None else f"{r.output_error:.1e}",
    "KLD": lambda r: f"{r.kld:.4f}",
    "p99": lambda r: f"{r.kld_p99:.3f}",
    "top-1": lambda r: f"{100 * r.top1:.1f}%",
    "NLL": lambda r: f"{r.nll:+.4f} ± {r.nll_se:.4f}",
    "pass@1": lambda r: _passed(r),
    "tok/s": lambda r: f"{r.decode:.0f}",
    "s": lambda r: f"{r.seconds:.0f}",
    "peak MB": lambda r: f"{r.peak_megabytes:.0f}",
}

#: What the plots show.
_TITLES = {
    "divergence": "Divergence against bits per weight",
    "speed": "Divergence against speed",
    "solved": "Tasks solved",
}


def write_page(out: Path, model: Path, rows: Sequence[Row]) -> Path:
    """study.json, study.md with its plots beside it, and study.html in ``out``."""
    (out / "study.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    drawn = dict(plots(rows))
    for name, svg in drawn.items():
        (out / f"study-{name}.svg").write_text(svg, encoding="utf-8")
    facts = f"{open_checkpoint(model).description}; {processor().name}"
    text = "\n".join(_markdown(facts, drawn, rows)) + "\n"
    (out / "study.md").write_text(text, encoding="utf-8")
    page = out / "study.html"
    page.write_text("\n".join(_html(facts, drawn, rows)) + "\n", encoding="utf-8")
    return page


def _markdown(facts: str, drawn: Iterable[str], rows: Sequence[Row]) -> Iterator[str]:
    yield f"# Quantization study: {facts}\n"
    for claim in claims(rows):
        yield f"- {claim}"
    for name in drawn:
        yield f"\n![{_TITLES[name]}](study-{name}.svg)"
    for family, found in _by_family(rows):
        yield f"\n## {FAMILIES[family]}\n"
        yield "| " + " | ".join(_COLUMNS) + " |"
        yield "|" + "---|" * len(_COLUMNS)
        for row in found:
            yield "| " + " | ".join(_cells(row)) + " |"


def _html(facts: str, drawn: Mapping[str, str], rows: Sequence[Row]) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8><title>Quantization study</title>"
    yield f"<style>{_STYLE}</style><h1>Quantization study</h1><p>{escape(facts)}</p><ul>"
    yield from (f"<li>{escape(claim)}</li>" for claim in claims(rows))
    yield "</ul>"
    for name, svg in drawn.items():
        yield f"<h2>{_TITLES[name]}</h2>{svg[svg.index('<svg') :]}"
    for family, found in _by_family(rows):
        yield f"<h2>{escape(FAMILIES[family])}</h2><table><tr>"
        yield "".join(f"<th>{escape(name)}</th>" for name in _COLUMNS) + "</tr>"
        for row in found:
            yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
        yield "</table>"
    yield "</html>"


def _by_family(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for family in FAMILIES:
        if found := [row for row in rows if row.family == family]:
            yield family, found


def _cells(row: Row) -> list[str]:
    if row.fault:
        return [row.name, row.fault, *[""] * (len(_COLUMNS) - 2)]
    return [make(row) for make in _COLUMNS.values()]


def _passed(row: Row) -> str:
    if not row.tasks:
        return "-"
    found = stats.wilson(row.passed, row.tasks)
    return f"{row.passed}/{row.tasks} ({100 * found.low:.0f}-{100 * found.high:.0f}%)"


_STYLE = """
body { font: 15px system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; font-size: 13px }
td, th { padding: .25em .6em; text-align: right }
td:first-child, th:first-child { text-align: left } tr:nth-child(even) { background: #8881 }
svg { max-width: 100%; height: auto; background: white }
"""
