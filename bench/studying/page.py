"""The study's table as Markdown, and as a page with plots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import msgspec
from bench.studying.claims import claims
from bench.studying.grid import FAMILIES
from bench.studying.measuring import Row

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

_WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 740, 20, 300


def write_page(out: Path, model: Path, rows: Sequence[Row]) -> Path:
    """study.json, study.md and study.html in ``out``."""
    (out / "study.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    text = "\n".join(_markdown(model, rows)) + "\n"
    (out / "study.md").write_text(text, encoding="utf-8")
    page = out / "study.html"
    page.write_text("\n".join(_html(model, rows)) + "\n", encoding="utf-8")
    return page


def _facts(model: Path) -> str:
    return f"{open_checkpoint(model).description}; {processor().name}"


def _markdown(model: Path, rows: Sequence[Row]) -> Iterator[str]:
    yield f"# Quantization study: {_facts(model)}\n"
    for claim in claims(rows):
        yield f"- {claim}"
    for family, found in _by_family(rows):
        yield f"\n## {FAMILIES[family]}\n"
        yield "| " + " | ".join(_COLUMNS) + " |"
        yield "|" + "---|" * len(_COLUMNS)
        for row in found:
            yield "| " + " | ".join(_cells(row)) + " |"


def _html(model: Path, rows: Sequence[Row]) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8><title>Quantization study</title>"
    yield f"<style>{_STYLE}</style><h1>Quantization study</h1><p>{escape(_facts(model))}</p><ul>"
    yield from (f"<li>{escape(claim)}</li>" for claim in claims(rows))
    yield "</ul><h2>Divergence against bits per weight of the quantized layers</h2>"
    yield _plot([row for row in rows if not row.fault])
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


def _plot(rows: Sequence[Row]) -> str:
    """Every recipe as a point: bits to the right, KLD upwards on a logarithmic scale."""
    least = math.floor(math.log10(min(row.kld for row in rows)))
    most = math.ceil(math.log10(max(row.kld for row in rows)))
    families = list(FAMILIES)

    def x(bits: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (bits - 2) / 7

    def y(kld: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (math.log10(kld) - least) / max(1, most - least)

    marks = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="KLD against bits">']
    for power in range(least, most + 1):
        at = y(10.0**power)
        marks.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        marks.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" class="end">{10.0**power:g}</text>')
    marks += [f'<text x="{x(b):.1f}" y="{_BOTTOM + 20}">{b}</text>' for b in range(2, 10)]
    for row in rows:
        hue = 360 * families.index(row.family) // len(families)
        title = escape(f"{row.name}: {row.bits:.2f} bits, KLD {row.kld:.4f}")
        marks.append(
            f'<circle cx="{x(row.bits):.1f}" cy="{y(row.kld):.1f}" r="5" fill="hsl({hue} 60% 45%)">'
            f"<title>{title}</title></circle>"
        )
    for number, family in enumerate(dict.fromkeys(row.family for row in rows)):
        hue, at = 360 * families.index(family) // len(families), _TOP + 18 * number
        marks.append(f'<circle cx="{_RIGHT - 110}" cy="{at}" r="5" fill="hsl({hue} 60% 45%)"/>')
        marks.append(f'<text x="{_RIGHT - 98}" y="{at + 4}" class="start">{family}</text>')
    return "".join(marks) + "</svg>"


_STYLE = """
body { font: 15px system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; font-size: 13px }
td, th { padding: .25em .6em; text-align: right }
td:first-child, th:first-child { text-align: left } tr:nth-child(even) { background: #8881 }
svg { max-width: 760px; font-size: 12px; fill: currentColor } svg line { stroke: #8886 }
svg text { text-anchor: middle } svg .end { text-anchor: end } svg .start { text-anchor: start }
"""
