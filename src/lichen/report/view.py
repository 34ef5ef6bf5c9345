"""What every form of the report shows, chosen and worded once: terminal, Markdown and HTML."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lichen.measure.reading import Reading
from lichen.report import words
from lichen.verify.record import Correctness, Divergence, Interval, Record, Resources, Robustness

VERDICT_WORD = {"accept": "Accept", "reject": "Reject", "undecided": "Undecided"}


@dataclass(frozen=True)
class Row:
    """One line of the comparison: the original, the candidate, and the change."""

    label: str
    reference: str
    candidate: str
    change: str = ""
    tone: str = "same"
    reference_range: str | None = None
    candidate_range: str | None = None
    kind: str = "measured"
    note: str = ""
    key: str = ""


@dataclass(frozen=True)
class Section:
    """One axis of the comparison."""

    title: str
    question: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Quantity:
    """How a reading is presented."""

    label: str
    note: str
    smaller_is_better: bool | None = True
    less: str = "less"
    more: str = "more"


def _time(label: str, note: str) -> Quantity:
    return Quantity(label, note, less="faster", more="slower")


def _speed(label: str, note: str) -> Quantity:
    return Quantity(label, note, smaller_is_better=False, less="slower", more="faster")


QUANTITIES = {
    "size": Quantity("Size on disk", "the weight files", less="smaller", more="larger"),
    "peak_memory": Quantity("Peak memory", "the most memory that running it took"),
    "load_time": _time("Time to load", "until it can answer"),
    "first_token": _time("Time to first word", "how long a person waits for an answer"),
    "decode_speed": _speed("Writing speed, one user", "a token is about 3 characters"),
    "batch_speed": _speed("Writing speed, many users", "all answers together"),
    "prefill_speed": _speed("Reading speed", "of the prompt"),
    "cpu_per_token": Quantity("Processor time per token", "all threads, many users"),
    "energy_per_token": Quantity("Energy per token", "above idle"),
    "energy_per_solved_task": Quantity("Energy per solved task", "failed answers included"),
    "co2_per_solved_task": Quantity("CO₂ per solved task", "of the electricity used"),
    "idle_power": Quantity("Idle power", "drawn anyway, counted apart", smaller_is_better=None),
}


def sections(record: Record) -> list[Section]:
    """The whole comparison, axis by axis; an axis that was not tested is left out."""
    found = [_correctness(record.correctness, record.divergence)]
    if record.robustness is not None:
        found.append(_robustness(record.robustness))
    if record.resources is not None:
        found.append(_resources(record, record.resources))
    return [section for section in found if section.rows]


def candidate_label(record: Record) -> str:
    """What the candidate is called in a column: its scheme, where that tells it apart."""
    scheme = record.candidate.scheme
    return scheme if scheme and scheme != record.reference.scheme else "candidate"


def question(record: Record) -> str:
    """The question that the report answers."""
    label = candidate_label(record)
    name = record.candidate.name if label == "candidate" else label
    return f"Can {name} replace the original {record.reference.name}?"


def sentence(record: Record) -> str:
    """The one sentence to say in the meeting."""
    if not record.correctness:
        return "Nothing can be said yet: no task was tested."
    count = sum(c.count for c in record.correctness)
    solved = [
        sum(round(side.estimate * c.count) for c, side in pairs)
        for pairs in (
            [(c, c.reference) for c in record.correctness],
            [(c, c.candidate) for c in record.correctness],
        )
    ]
    tested = (
        f"on {count} programming tasks the {candidate_label(record)} model solves {solved[1]} "
        f"where the original solves {solved[0]}"
    )
    saving = _saving(record.resources)
    if record.verdict.decision == "accept":
        worst = max(0.0, *(-c.difference.low for c in record.correctness))
        sure = (1 + record.correctness[0].difference.confidence) / 2
        gain = f", and it is {saving}" if saving else ""
        return (
            f"We can switch: {tested}{gain}; with {sure:.0%} confidence we lose at most "
            f"{words.points(worst)}."
        )
    if record.verdict.decision == "reject":
        if all(c.decision != "reject" for c in record.correctness):
            return f"We should not switch: {tested}, but it fails when prompts are put differently."
        return f"We should not switch: {tested}, a loss that chance does not explain."
    needed = max((c.tasks_needed or 0 for c in record.correctness), default=0)
    more = f", so let us test on about {needed:,} tasks before we decide" if needed else ""
    return f"We do not know yet: {tested}, which is too little evidence either way{more}."


def not_tested(record: Record) -> list[str]:
    """What this run cannot say, from what is in the record."""
    sets = ", ".join(c.tasks for c in record.correctness) or "no task set"
    found = [
        f"Your own code: the tasks were {sets}, each a short Python function with its tests. Other "
        "languages, large projects and other kinds of work (explaining, editing, searching) were "
        "not tried.",
        "Sampling: each model gave one answer to each task, always its most likely one.",
        "Quality beyond passing tests: style, speed and security of the programs were not judged.",
        "Other machines: speed and memory are those of the machine named below; other processors "
        "differ.",
    ]
    if record.robustness is None:
        found.append("Robustness: prompts were not rephrased.")
    if record.divergence is None:
        found.append("How far the models' word-by-word predictions lie apart was not measured.")
    if record.resources is None:
        found.append("Resources: no time, memory or energy was taken.")
    if record.sandbox_level != "full":
        found.append(
            f"The programs ran in a sandbox of level “{record.sandbox_level}”, not “full”."
        )
    forgeable = sum(len(c.forgeable) for c in record.correctness)
    if forgeable:
        found.append(
            f"Of the verdicts, {forgeable} came from tests that a hostile program could have "
            "forged."
        )
    return found


def _correctness(found: list[Correctness], divergence: Divergence | None) -> Section:
    rows = [
        Row(
            f"Tasks solved, {c.tasks}",
            f"{round(c.reference.estimate * c.count)} of {c.count}",
            f"{round(c.candidate.estimate * c.count)} of {c.count}",
            words.signed_points(c.difference.estimate),
            _share_tone(c.difference),
            f"{words.percent(c.reference.estimate)}, {words.percent_range(c.reference)}",
            f"{words.percent(c.candidate.estimate)}, {words.percent_range(c.candidate)}",
            note=f"{len(c.lost)} lost, {len(c.gained)} gained",
        )
        for c in found
    ]
    if divergence is not None:
        rows.append(
            Row(
                "Same most likely next word",
                "",
                words.percent(divergence.top1_agreement),
                note=f"on {divergence.tokens:,} tokens of code; mean KL divergence "
                f"{divergence.kld_mean:.4f} nats",
            )
        )
    return Section("Correctness", "Does it still solve the tasks?", tuple(rows))


def _robustness(found: Robustness) -> Section:
    rows = [
        Row(
            "Solved in every phrasing",
            words.percent(found.reference_robust_pass.estimate),
            words.percent(found.candidate_robust_pass.estimate),
            words.signed_points(found.difference.estimate),
            _share_tone(found.difference),
            words.percent_range(found.reference_robust_pass),
            words.percent_range(found.candidate_robust_pass),
            note=f"all changes of the prompt, {found.count} tasks",
        ),
        Row(
            "Answers that rephrasing changed",
            words.percent(found.reference_flip_rate),
            words.percent(found.candidate_flip_rate),
            words.signed_points(found.candidate_flip_rate - found.reference_flip_rate),
            note="from solved to failed or back",
        ),
    ]
    return Section("Robustness", "Does it cope with prompts that are put differently?", tuple(rows))


def _resources(record: Record, found: Resources) -> Section:
    known = [name for name in QUANTITIES if name in found.reference or name in found.candidate]
    others = sorted({*found.reference, *found.candidate} - QUANTITIES.keys())
    rows = [
        _resource(name, found.reference.get(name), found.candidate.get(name))
        for name in [*known, *others]
    ]
    if record.reference.bits_per_weight < record.candidate.bits_per_weight:
        bits = words.number(record.reference.bits_per_weight)
        note = f"the original's file is itself compressed, to {bits} bits a weight"
        rows = [replace(row, note=note) if row.key == "size" else row for row in rows]
    return Section("Resources", "What does it cost?", tuple(rows))


def _resource(name: str, before: Reading | None, after: Reading | None) -> Row:
    shown = QUANTITIES.get(name) or Quantity(name.replace("_", " "), "", smaller_is_better=None)
    change, tone = "", "same"
    if before is not None and after is not None and shown.smaller_is_better is not None:
        change, tone = words.ratio(before.value, after.value, shown.less, shown.more)
        if not shown.smaller_is_better:
            tone = {"good": "bad", "bad": "good"}.get(tone, tone)
    present = after or before
    return Row(
        shown.label,
        "—" if before is None else words.reading(before),
        "—" if after is None else words.reading(after),
        change,
        tone,
        None if before is None else words.reading_range(before),
        None if after is None else words.reading_range(after),
        present.kind if present is not None else "measured",
        shown.note,
        name,
    )


def _saving(found: Resources | None) -> str:
    """What is gained, then what it costs: "2.1 times faster, but 1.2 times larger on disk"."""
    if found is None:
        return ""
    gains, losses = [], []
    for name, better, worse in (
        ("size", "smaller on disk", "larger on disk"),
        ("batch_speed", "faster", "slower"),
        ("energy_per_solved_task", "lighter on energy", "heavier on energy"),
    ):
        before, after = found.reference.get(name), found.candidate.get(name)
        if before is None or after is None or min(before.value, after.value) <= 0:
            continue
        gain = after.value / before.value if name == "batch_speed" else before.value / after.value
        if gain >= 1.05:
            gains.append(f"{gain:.1f} times {better}")
        elif gain <= 0.95:
            losses.append(f"{1 / gain:.1f} times {worse}")
    return ", but ".join(words.listed(part) for part in (gains, losses) if part)


def _share_tone(change: Interval) -> str:
    """Only what chance does not explain is called good or bad."""
    return "good" if change.low > 0 else "bad" if change.high < 0 else "same"
