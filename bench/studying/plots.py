"""The study's plots, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import matplotlib as mpl
from bench.studying.measuring import Row
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lichen import stats

# Text stays text, and the same figures give the same bytes.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "lichen", "font.size": 9})
_METADATA = {"Date": None, "Creator": None}


def plots(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Name and SVG of every plot for which there are figures."""
    measured = [row for row in rows if not row.fault]
    presets = [row for row in measured if row.family == "presets"]
    if measured:
        yield "divergence", _drawn(_divergence, measured, 4.2)
    if presets:
        yield "speed", _drawn(_speed, presets, 4.2)
    if solved := [row for row in presets if row.tasks]:
        yield "solved", _drawn(_solved, solved, 0.8 + 0.28 * len(solved))


def _drawn(draw: Callable[[Axes, Sequence[Row]], None], rows: Sequence[Row], height: float) -> str:
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True, alpha=0.3)
    draw(axes, rows)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=_METADATA)
    return out.getvalue()


def _divergence(axes: Axes, rows: Sequence[Row]) -> None:
    """Every recipe as a point: bits to the right, divergence upwards."""
    for family in dict.fromkeys(row.family for row in rows):
        points = [(row.bits, row.kld) for row in rows if row.family == family]
        axes.scatter(*zip(*points, strict=True), s=22, label=family, alpha=0.8)
    axes.set_yscale("log")
    axes.set_xlabel("bits per weight of the blocks, scales included")
    axes.set_ylabel("KL divergence, nats")
    axes.legend(frameon=False)


def _speed(axes: Axes, rows: Sequence[Row]) -> None:
    """What a preset costs in divergence against what it gives in speed."""
    axes.scatter([row.decode for row in rows], [row.kld for row in rows], s=22)
    for row in rows:
        axes.annotate(row.name, (row.decode, row.kld), xytext=(5, 3), textcoords="offset points")
    axes.margins(x=0.2)  # room for the names
    axes.set_yscale("log")
    axes.set_xlabel("tokens a second, one answer")
    axes.set_ylabel("KL divergence, nats")


def _solved(axes: Axes, rows: Sequence[Row]) -> None:
    """Share of tasks that a preset solves, with 95% intervals."""
    rows = rows[::-1]
    found = [stats.wilson(row.passed, row.tasks) for row in rows]
    least = [100 * (interval.estimate - interval.low) for interval in found]
    most = [100 * (interval.high - interval.estimate) for interval in found]
    shares = [100 * interval.estimate for interval in found]
    axes.errorbar(shares, [row.name for row in rows], xerr=[least, most], fmt="o", capsize=3)
    axes.set_xlabel(f"tasks solved of {rows[0].tasks}, greedy, in percent")
