"""The report as Markdown, for a pull request or a wiki."""

from __future__ import annotations

import re

from lichen.report import view, words
from lichen.verify.record import Correctness, Record


def render_markdown(record: Record) -> str:
    """Verdict, comparison, reasons, flips and limits of a record."""
    verdict = record.verdict
    parts = [
        f"# {view.VERDICT_WORD[verdict.decision]}: {_text(record.candidate.name)}",
        _text(verdict.summary),
        f"> {_text(view.sentence(record))}",
        _table(record),
        _list("Why", verdict.reasons),
        _list("Warnings", verdict.warnings),
        _flips(record),
        _list("Tasks", [_set(record, c) for c in record.correctness]),
        _list("What was not tested", view.not_tested(record)),
        _list("Assumptions", record.resources.assumptions if record.resources else []),
        _machine(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(record: Record) -> str:
    lines = [
        f"| | original | {_text(view.candidate_label(record))} | change | |",
        "|---|---:|---:|---:|---|",
    ]
    for section in view.sections(record):
        lines.append(f"| **{section.title}** | | | | |")
        lines += [
            f"| {_text(row.label)} | {_text(row.reference)} | {_text(row.candidate)} "
            f"| {_text(row.change)} | {'modelled' if row.kind == 'modelled' else ''} |"
            for row in section.rows
        ]
    return "\n".join(lines)


def _list(title: str, items: list[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {_text(i)}" for i in items)]) if items else ""


def _flips(record: Record) -> str:
    lines = [
        f"- {_text(c.tasks)}: {what} {', '.join(map(_text, ids))}"
        for c in record.correctness
        for what, ids, _ in view.moved(c)
    ]
    return "\n".join(["## Tasks with another verdict", "", *lines]) if lines else ""


def _set(record: Record, c: Correctness) -> str:
    """Where a task set comes from, how it was asked, and what was left out of it."""
    excluded = "".join(f"; left out: {e.task} ({e.reason})" for e in c.excluded)
    source = f" ({c.source})" if c.source else ""
    return f"{c.tasks}{source}: {c.count} tasks, {view.sampling(c, record)}{excluded}"


def _machine(record: Record) -> str:
    m = record.machine
    return "\n".join(
        [
            "## Machine and models",
            "",
            f"- {_text(m.processor)}, {m.cores} cores, {m.threads} threads, {_text(m.isa)}, "
            f"{_text(m.kv_cache)} keys and values, "
            f"{words.quantity(m.memory_bytes, 'B')}, {_text(m.system)}, lichen {_text(m.lichen)}; "
            f"sandbox {_text(record.sandbox_level)}",
            *(
                f"- {model.role}: {_text(model.description)} (`{model.digest[:16]}`)"
                for model in (record.reference, record.candidate)
            ),
        ]
    )


def _text(text: str) -> str:
    """Text that stays text: nothing in it is read as markup, a table cell or a new line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
