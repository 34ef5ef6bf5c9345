"""Plots as inline SVG: no script, no outside resource, colours and fonts from the page's CSS.

Classes, not colours, say what a mark is, so that light, dark and print each draw it their way.
Every plot has a title and a description for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lichen.report import words

_WIDTH = 760
_LEFT, _RIGHT = 190, 730  # of the plotting area
_ROW, _TOP = 46, 34


@dataclass(frozen=True)
class Difference:
    """A change of the share of tasks solved, candidate minus original, with its interval."""

    label: str
    low: float
    estimate: float
    high: float


@dataclass(frozen=True)
class Share:
    """A share with its interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class SharePair:
    """The same share of both models."""

    label: str
    reference: Share
    candidate: Share


@dataclass(frozen=True)
class Bar:
    """A value with its range, as text too."""

    value: float
    text: str
    low: float | None = None
    high: float | None = None


def differences(rows: Sequence[Difference], margin: float) -> Markup:
    """Each difference on one axis in points, with what is still allowed and what is too much."""
    low = min([-2 * margin, *(row.low for row in rows)])
    high = max([margin, *(row.high for row in rows)])
    ticks = _ticks(100 * low, 100 * high)
    start, end = ticks[0] / 100, ticks[-1] / 100
    bottom = _TOP + _ROW * len(rows)

    def x(value: float) -> float:
        return _LEFT + (value - start) / (end - start) * (_RIGHT - _LEFT)

    limit = x(-margin)
    parts = [
        _rect("zone", _LEFT, _TOP - 8, limit - _LEFT, bottom - _TOP + 8),
        *_grid(
            [(x(t / 100), f"{t:+g}".replace("-", words.MINUS) if t else "0") for t in ticks],
            _TOP - 8,
            bottom,
        ),
        _line("zero", x(0), _TOP - 8, x(0), bottom),
        _line("limit", limit, _TOP - 8, limit, bottom),
        _text("end", limit - 6, _TOP - 16, f"too much: over {words.points(margin)}"),
        _text("start", x(0) + 6, _TOP - 16, "as the original" if x(0) < 660 else ""),
    ]
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number + _ROW / 2
        parts += [_text("label", 0, y + 4, row.label), *_whisker("cand", x, y, row.low, row.high)]
        parts.append(_dot("cand", x(row.estimate), y))
    told = "; ".join(
        f"{row.label}: {words.signed_points(row.estimate)}, between "
        f"{words.signed_points(row.low)} and {words.signed_points(row.high)}"
        for row in rows
    )
    axis = _text("axis", (_LEFT + _RIGHT) / 2, bottom + 40, "change in tasks solved, in points")
    return _svg(_WIDTH, bottom + 46, "Change against the original", told, [*parts, axis])


def shares(pairs: Sequence[SharePair]) -> Markup:
    """Both models' shares with their intervals, from 0 to 100 percent."""
    top = 10
    bottom = top + _ROW * len(pairs)

    def x(value: float) -> float:
        return _LEFT + value * (_RIGHT - _LEFT)

    parts = _grid([(x(t / 100), f"{t}%") for t in range(0, 101, 20)], top, bottom)
    for number, pair in enumerate(pairs):
        y = top + _ROW * number + _ROW / 2
        parts.append(_text("label", 0, y + 4, pair.label))
        for name, share, shift in (("ref", pair.reference, -7), ("cand", pair.candidate, 7)):
            parts += _whisker(name, x, y + shift, share.low, share.high)
            parts.append(_dot(name, x(share.estimate), y + shift))
    told = "; ".join(
        f"{pair.label}: original {words.percent(pair.reference.estimate)}, candidate "
        f"{words.percent(pair.candidate.estimate)}"
        for pair in pairs
    )
    return _svg(_WIDTH, bottom + 28, "Share of tasks solved", told, parts)


def bars(title: str, reference: Bar, candidate: Bar) -> Markup:
    """Two bars on one scale, with whiskers where there is a range."""
    width, left, right = 260, 58, 176
    largest = max(b.high if b.high is not None else b.value for b in (reference, candidate))
    scale = (right - left) / largest if largest > 0 else 0.0
    parts = []
    for name, label, bar, y in (
        ("ref", "original", reference, 8), ("cand", "new", candidate, 36),
    ):  # fmt: skip
        parts += [
            _text("label", 0, y + 14, label),
            _rect(f"bar {name}", left, y, max(1.5, bar.value * scale), 19, radius=3),
        ]
        if bar.low is not None and bar.high is not None and bar.high > bar.low:
            parts += _whisker(
                "range", lambda value: left + value * scale, y + 9.5, bar.low, bar.high
            )
        parts.append(_text("value", right + 10, y + 14, bar.text))
    told = f"{title}: original {reference.text}, new {candidate.text}"
    return _svg(width, 62, title, told, parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers about six steps apart that enclose both ends and zero."""
    raw = max(high - low, 1e-9) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 6) for i in range(first, last + 1)]


def _grid(ticks: Iterable[tuple[float, str]], top: float, bottom: float) -> list[str]:
    return [
        part
        for x, label in ticks
        for part in (
            _line("grid", x, top, x, bottom),
            _text("tick", x, bottom + 18, label),
        )
    ]


def _whisker(
    name: str, x: Callable[[float], float], y: float, low: float, high: float
) -> list[str]:
    ends = [_line(f"whisker {name}", x(end), y - 4, x(end), y + 4) for end in (low, high)]
    return [_line(f"whisker {name}", x(low), y, x(high), y), *ends]


def _dot(name: str, x: float, y: float) -> str:
    return f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _rect(name: str, x: float, y: float, width: float, height: float, radius: int = 0) -> str:
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" '
        f'height="{height:.1f}" rx="{radius}"/>'
    )


def _text(name: str, x: float, y: float, text: str) -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _svg(width: float, height: float, title: str, told: str, parts: Iterable[str]) -> Markup:
    name = "plot wide" if width == _WIDTH else "plot"
    return Markup(  # noqa: S704 - every text in it went through escape()
        f'<svg class="{name}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{''.join(parts)}</svg>"
    )
