"""What every form of the report shows, chosen and worded once: terminal, Markdown and HTML."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lichen.measure.reading import Reading
from lichen.report import words
from lichen.verify.record import (
    Correctness,
    Divergence,
    Interval,
    ModelRecord,
    PassAt,
    Record,
    Resources,
    Robustness,
)

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
    return "candidate" if scheme in ("", "unknown", record.reference.scheme) else scheme


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
    before, after = _solved(record.correctness)
    tested = (
        f"on {count} programming tasks the {candidate_label(record)} model solves {after} "
        f"where the original solves {before}"
    )
    saving = _saving(record.resources)
    if record.verdict.decision == "accept":
        worst = max(-c.difference.low for c in record.correctness)
        sure = (1 + record.correctness[0].difference.confidence) / 2
        gain = f", and it is {saving}" if saving else ""
        return (
            f"We can switch: {tested}{gain}; with {sure:.0%} confidence we lose at most "
            f"{words.at_most(worst)}."
        )
    if record.verdict.decision == "reject":
        if all(c.decision != "reject" for c in record.correctness):
            return f"We should not switch: {tested}, but it fails when prompts are put differently."
        return f"We should not switch: {tested}, a loss that chance does not explain."
    return f"We do not know yet: {tested}, which is too little evidence either way{_more(record)}."


def _more(record: Record) -> str:
    """How many tasks to try, of the set that is furthest from a decision."""
    needed, name = max((c.tasks_needed or 0, c.tasks) for c in record.correctness)
    alike = f" like those of {name}" if len(record.correctness) > 1 else ""
    return f", so let us test on about {needed:,} tasks{alike} before we decide" if needed else ""


def moved(found: Correctness) -> list[tuple[str, list[str], str]]:
    """The tasks solved less and more often: a word for the change, the tasks, and its tone."""
    several = found.samples > 1
    outcomes = {outcome.task: outcome for outcome in found.outcomes} if several else {}

    def told(task: str) -> str:
        if task not in outcomes:
            return task
        shares = [_share(side) for side in (outcomes[task].reference, outcomes[task].candidate)]
        return f"{task} ({shares[0]} → {shares[1]})"

    sides = (
        ("solved less often" if several else "lost", found.lost, "bad"),
        ("solved more often" if several else "gained", found.gained, "good"),
    )
    return [(word, [told(task) for task in ids], tone) for word, ids, tone in sides if ids]


def sampling(found: Correctness, record: Record) -> str:
    """How the answers were drawn: "greedy", or how many at which temperature."""
    temperature = record.settings.get("temperature")
    if not temperature:
        return "greedy"
    top_p = record.settings.get("top_p")
    cut = "" if top_p in (None, 1) else f", top-p {top_p}"
    return f"{words.counted(found.samples, 'sample')} a task at temperature {temperature}{cut}"


def is_remote(model: ModelRecord) -> bool:
    """Whether a model was asked over the network, so that nothing but its answers was seen."""
    return model.path.startswith(("http://", "https://"))


def weights(record: Record) -> str:
    """How many weights there are, and of how many bits on disk, as far as that is known."""
    count = record.reference.parameters or record.candidate.parameters
    bits = [
        "unknown" if bits is None else f"{words.number(bits)} bits each"
        for bits in (record.reference.bits_per_weight, record.candidate.bits_per_weight)
    ]
    number = f"{words.number(count / 1e6)} million" if count else "of unknown number"
    return f"{number}; on disk {bits[0]} in the original, {bits[1]} in the new model"


def not_tested(record: Record) -> list[str]:
    """What this run cannot say, from what is in the record."""
    sets = ", ".join(c.tasks for c in record.correctness) or "no task set"
    found = [
        f"Your own code: the tasks were {sets}, each a short Python function with its tests. Other "
        "languages, large projects and other kinds of work (explaining, editing, searching) were "
        "not tried.",
        _other_sampling(record),
        "Quality beyond passing tests: style, speed and security of the programs were not judged.",
        "Other machines: speed and memory are those of the machine named below; other processors "
        "differ.",
    ]
    if record.robustness is None:
        found.append("Robustness: prompts were not rephrased.")
    remote = [model for model in (record.reference, record.candidate) if is_remote(model)]
    why = ": nothing but answers comes from behind a URL" if remote else ""
    if record.divergence is None:
        found.append(
            f"How far the models' word-by-word predictions lie apart was not measured{why}."
        )
    if record.resources is None:
        found.append(f"Resources: no time, memory or energy was taken{why}.")
    found += [
        f"What the {m.role} is made of: it is known by what its server says ({m.path}), and a "
        "difference may come from that server's arithmetic as well as from the weights."
        for m in remote
    ]
    if record.sandbox_level != "full":
        found.append(
            f"The programs ran in a sandbox of level “{record.sandbox_level}”, not “full”."
        )
    found += [
        f"{c.tasks}: on {words.counted(len(c.forgeable), 'task')} tests and program had to share a "
        f"process, so that a hostile program could have forged its pass: {_first(c.forgeable)}."
        for c in record.correctness
        if c.forgeable
    ]
    return found


def _other_sampling(record: Record) -> str:
    drawn = {sampling(c, record) for c in record.correctness}
    if drawn <= {"greedy"}:
        return "Sampling: each model gave one answer to each task, always its most likely one."
    more = "" if record.robustness is None else "; rephrased prompts were answered greedily"
    return f"Other ways to draw answers: there were {' and '.join(sorted(drawn))}{more}."


def _solved(found: list[Correctness]) -> tuple[str, str]:
    """How many of the tasks each model solves: a number, or a share of several samples."""
    count = sum(c.count for c in found)
    solved = [
        sum(side.estimate * c.count for c, side in pairs)
        for pairs in ([(c, c.reference) for c in found], [(c, c.candidate) for c in found])
    ]
    if all(c.samples == 1 for c in found):
        return str(round(solved[0])), str(round(solved[1]))
    return words.percent(solved[0] / count), words.percent(solved[1] / count)


def _first(tasks: list[str]) -> str:
    """The first of them by name, and how many more."""
    more = f" and {len(tasks) - 10} more" if len(tasks) > 10 else ""
    return f"{', '.join(tasks[:10])}{more}"


def _share(verdicts: list[str]) -> str:
    return f"{verdicts.count('passed')}/{len(verdicts)}"


def _correctness(found: list[Correctness], divergence: Divergence | None) -> Section:
    rows = [row for c in found for row in (_solved_row(c), *map(_any_row, c.pass_at[1:]))]
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


def _solved_row(c: Correctness) -> Row:
    if c.samples == 1:
        shares = words.percent(c.reference.estimate), words.percent(c.candidate.estimate)
        return Row(
            f"Tasks solved, {c.tasks}",
            f"{round(c.reference.estimate * c.count)} of {c.count}",
            f"{round(c.candidate.estimate * c.count)} of {c.count}",
            words.signed_points(c.difference.estimate),
            _share_tone(c.difference),
            f"{shares[0]}, {words.percent_range(c.reference)}",
            f"{shares[1]}, {words.percent_range(c.candidate)}",
            note=f"{len(c.lost)} lost, {len(c.gained)} gained",
        )
    return Row(
        f"Tasks solved, {c.tasks}",
        words.percent(c.reference.estimate),
        words.percent(c.candidate.estimate),
        words.signed_points(c.difference.estimate),
        _share_tone(c.difference),
        words.percent_range(c.reference),
        words.percent_range(c.candidate),
        note=f"of {c.count}, in the mean of {c.samples} samples; {len(c.lost)} less often, "
        f"{len(c.gained)} more often",
    )


def _any_row(found: PassAt) -> Row:
    return Row(
        f"… by any of {found.k} samples",
        words.percent(found.reference.estimate),
        words.percent(found.candidate.estimate),
        words.signed_points(found.difference.estimate),
        _share_tone(found.difference),
        words.percent_range(found.reference),
        words.percent_range(found.candidate),
        note=f"pass@{found.k}",
    )


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
    before, after = record.reference.bits_per_weight, record.candidate.bits_per_weight
    if before is not None and after is not None and before < after:
        bits = words.number(before)
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
    """What is gained, then what it costs: "2.1 times faster on batches, but 1.2 times larger"."""
    if found is None:
        return ""
    gains, losses = [], []
    for name, better, worse in (
        ("size", "smaller on disk", "larger on disk"),
        ("decode_speed", "faster for one user", "slower for one user"),
        ("batch_speed", "faster on batches", "slower on batches"),
        ("energy_per_solved_task", "lighter on energy", "heavier on energy"),
    ):
        before, after = found.reference.get(name), found.candidate.get(name)
        if before is None or after is None or min(before.value, after.value) <= 0:
            continue
        gain = before.value / after.value
        if not QUANTITIES[name].smaller_is_better:
            gain = 1 / gain
        if gain >= 1.05:
            gains.append(f"{gain:.1f} times {better}")
        elif gain <= 0.95:
            losses.append(f"{1 / gain:.1f} times {worse}")
    return ", but ".join(words.listed(part) for part in (gains, losses) if part)


def _share_tone(change: Interval) -> str:
    """Only what chance does not explain is called good or bad."""
    return "good" if change.low > 0 else "bad" if change.high < 0 else "same"
