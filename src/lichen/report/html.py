"""The report as one HTML file that works from disk, prints, and loads nothing."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.resources import files

import jinja2
from markupsafe import Markup

from lichen.measure.reading import Reading
from lichen.report import plots, view, words
from lichen.report.flips import Flip, find_flips
from lichen.report.run import Run
from lichen.verify.record import Interval, Record

#: More flips of a set than these are there, but folded away.
SHOWN = 30

#: Readings that get a pair of bars, in this order.
_BARS = (
    "size",
    "peak_memory",
    "first_token",
    "decode_speed",
    "batch_speed",
    "energy_per_solved_task",
)


def render_html(run: Run) -> str:
    """The whole page.  Everything from the record is escaped: answers are hostile text."""
    record = run.record
    return _template().render(
        record=record,
        verdict_word=view.VERDICT_WORD[record.verdict.decision],
        label=view.candidate_label(record),
        question=view.question(record),
        sentence=view.sentence(record),
        sections=view.sections(record),
        not_tested=view.not_tested(record),
        weights=view.weights(record),
        flips=_by_set(find_flips(run)),
        view=view,
        difference_plot=_difference_plot(record),
        share_plot=_share_plot(record),
        bar_plots=_bar_plots(record),
        sources=_sources(record),
        exclusions=_exclusions(record),
        css=_css(),
        words=words,
    )


def _by_set(found: list[Flip]) -> list[tuple[str, list[Flip], list[Flip]]]:
    """Set by set: its name, the flips that are seen at once, and those that are folded away."""
    grouped: dict[str, list[Flip]] = {}
    for flip in found:
        grouped.setdefault(flip.tasks, []).append(flip)
    return [(tasks, flips[:SHOWN], flips[SHOWN:]) for tasks, flips in grouped.items()]


def _difference_plot(record: Record) -> Markup | None:
    rows = [(f"Correctness, {c.tasks}", c.difference) for c in record.correctness]
    if record.robustness is not None:
        rows.append(("Robustness", record.robustness.difference))
    if not record.correctness:
        return None
    return plots.differences(
        [plots.Difference(label, d.low, d.estimate, d.high) for label, d in rows],
        record.correctness[0].margin,
    )


def _share_plot(record: Record) -> Markup | None:
    pairs = [plots.SharePair(c.tasks, _share(c.reference), _share(c.candidate))
             for c in record.correctness]  # fmt: skip
    if record.robustness is not None:
        found = record.robustness
        pairs.append(
            plots.SharePair(
                "in every phrasing",
                _share(found.reference_robust_pass),
                _share(found.candidate_robust_pass),
            )
        )
    return plots.shares(pairs) if pairs else None


def _share(found: Interval) -> plots.Share:
    return plots.Share(found.estimate, found.low, found.high)


def _bar_plots(record: Record) -> list[dict[str, object]]:
    """Title, drawing, change and kind of each reading that both models have."""
    if record.resources is None:
        return []
    before, after = record.resources.reference, record.resources.candidate
    rows = {row.key: row for section in view.sections(record) for row in section.rows}
    return [
        {
            "row": rows[name],
            "plot": plots.bars(view.QUANTITIES[name].label, _bar(before[name]), _bar(after[name])),
        }
        for name in _BARS
        if name in before and name in after
    ]


def _bar(found: Reading) -> plots.Bar:
    return plots.Bar(found.value, words.reading(found), found.low, found.high)


def _sources(record: Record) -> list[tuple[str, str, str]]:
    """Label, kind and source of every reading of the candidate (the original's are alike)."""
    if record.resources is None:
        return []
    readings = {**record.resources.reference, **record.resources.candidate}
    names = [name for name in view.QUANTITIES if name in readings]
    names += sorted(readings.keys() - view.QUANTITIES.keys())
    return [
        (
            view.QUANTITIES[name].label if name in view.QUANTITIES else name.replace("_", " "),
            readings[name].kind,
            readings[name].source,
        )
        for name in names
    ]


def _exclusions(record: Record) -> list[tuple[str, str, str]]:
    """Where, task and reason of everything that was left out."""
    found = [(c.tasks, e.task, e.reason) for c in record.correctness for e in c.excluded]
    if record.robustness is not None:
        found += [
            (p.name.replace("_", " "), e.task, e.reason)
            for p in record.robustness.perturbations
            for e in p.excluded
        ]
    return found


def _date(text: str) -> str:
    """ISO time as "23 November 2026, 19:03 UTC"; anything else as it is."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{found.day} {found:%B %Y, %H:%M} {found:%Z}".rstrip()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lichen.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["date"] = _date
    return environment


def _template() -> jinja2.Template:
    return _environment().get_template("report.html")


def _css() -> Markup:
    """The package's own style sheet, trusted."""
    source = files("lichen.report").joinpath("templates", "report.css")
    return Markup(source.read_text(encoding="utf-8"))  # noqa: S704 - a file of this package
