"""A run scored again from its files: no model is asked, and none has to be there.

Programs are made from the kept answers anew, judged anew, and every figure that rests on verdicts
is worked out anew.  What was measured of the models themselves is carried over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lichen.completion import Completion
from lichen.errors import InputError
from lichen.measure.reading import Reading
from lichen.tasks import Prompt, render
from lichen.tasks.task import enumerated
from lichen.verify import gate
from lichen.verify.asked import Asked, Given, Key, answers_of, key_of, unchanged
from lichen.verify.boxes import Boxes, sandboxes
from lichen.verify.examine import TITLES
from lichen.verify.marking import Work, keep, mark, recorded, work
from lichen.verify.paper import load_tasks, set_paper
from lichen.verify.progress import Progress
from lichen.verify.questions import Answer, Ask, Question, judged
from lichen.verify.reader import read_record
from lichen.verify.record import Changed, CompletionRecord, Record, Rescoring, Resources, Role
from lichen.verify.run import RunFolder
from lichen.verify.settings import Settings

ROLES: tuple[Role, ...] = ("reference", "candidate")


def rescore(
    folder: Path,
    run: RunFolder,
    *,
    command: str,
    progress: Progress,
    allow_weak: bool = False,
    unsafe: bool = False,
    force: bool = False,
) -> Record:
    """Score the answers in `folder` again; the new record goes into `run`, once it is whole.

    `run` may be the same folder.  InputError where answers are missing, and, unless `force`, where
    tasks are not those that were asked: then answers are judged by the tests of today, and those
    to another prompt are left out.
    """
    started = time.monotonic()
    before = read_record(folder)
    given = answers_of(folder, before)
    settings = settings_of(before)
    sets = load_tasks(settings)
    asked = Asked(before, given, settings.samples, unchanged(before, sets))
    with sandboxes(sets, allow_weak=allow_weak, unsafe=unsafe) as boxes:
        level = boxes.level
        paper = set_paper(sets, settings, asked.unread, boxes, progress)
        asked.miss({(part.name, task.id) for part in sets for task in part.tasks})
        if asked.differing and not force:
            raise InputError(
                f"{folder}: tasks are not those that were asked: {enumerated(asked.differing)}; "
                "--force judges by those of today."
            )
        asks = paper.asks(settings.samples)
        answers = {role: _judged(role, asks, given, boxes, progress) for role in ROLES}
    axis1, axis2 = mark(paper, answers, str(before.settings["style"]), settings.margin)
    resources = _carried(before.resources, given, answers)
    lines = {key: line for role in ROLES for key, line in _lines(role, answers[role], given)}
    record = msgspec.structs.replace(
        before,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_seconds=round(time.monotonic() - started, 3),
        command=command,
        sandbox_level=level,
        unsafe=level == "none",
        settings=recorded(settings, str(before.settings["style"]), paper),
        correctness=axis1,
        robustness=axis2,
        resources=resources,
        verdict=gate.decide(
            axis1,
            axis2,
            before.divergence,
            resources,
            unsafe=level == "none",
            sandbox_level=level,
        ),
        completions=len(given),
        rescored=Rescoring(
            created=before.created,
            judged=len(lines),
            changed=[
                _changed(given[key], line)
                for key, line in lines.items()
                if given[key].verdict != line.verdict
            ],
        ),
    )
    keep(run, record, list((given | lines).values()))
    return record


def settings_of(record: Record) -> Settings:
    """The settings of a run, from its record."""
    names = Settings.__dataclass_fields__.keys() & record.settings.keys()
    kept = {name: record.settings[name] for name in names}
    try:
        return msgspec.convert(kept, Settings, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise InputError(f"the settings in the record cannot be used: {error}.") from None


def _judged(
    role: Role, asks: Sequence[Ask], given: Given, boxes: Boxes, progress: Progress
) -> list[Answer]:
    lines = [given[role, key_of(ask)] for ask in asks]
    prompts = [_prompt(a.question, line) for a, line in zip(asks, lines, strict=True)]
    completions = [
        Completion(line.text, line.finish_reason, line.prompt_tokens, line.tokens) for line in lines
    ]
    return judged(asks, prompts, completions, boxes, progress, TITLES[role])


def _prompt(question: Question, line: CompletionRecord) -> Prompt:
    """The prompt as it was put; what it begins of the program is alike in every style."""
    return replace(render(question.task, "completion"), text=line.prompt)


def _lines(
    role: Role, answers: Sequence[Answer], given: Given
) -> Iterator[tuple[tuple[Role, Key], CompletionRecord]]:
    """The answers' lines of completions.jsonl."""
    for answer in answers:
        key = role, key_of(Ask(answer.question, answer.sample))
        yield key, answer.record(role, given[key].model_digest)


def _changed(before: CompletionRecord, after: CompletionRecord) -> Changed:
    return Changed(
        role=after.role,
        tasks=after.tasks,
        task=after.task,
        perturbation=after.perturbation,
        seed=after.seed,
        sample=after.sample,
        before=before.verdict,
        after=after.verdict,
    )


def _carried(
    resources: Resources | None, given: Given, answers: Mapping[Role, Sequence[Answer]]
) -> Resources | None:
    """The readings as they were, but for those per solved task."""
    if resources is None:
        return None
    sides = {"reference": resources.reference, "candidate": resources.candidate}
    carried = {
        role: _per_solved(sides[role], _work_before(role, given), work(answers[role]))
        for role in ROLES
    }
    return Resources(**carried, assumptions=resources.assumptions)


def _per_solved(readings: dict[str, Reading], before: Work, after: Work) -> dict[str, Reading]:
    """The same energy for another number of solved tasks; for none of them there is no figure."""
    if before == after:
        return readings
    factor = before.solved * after.tokens / (before.tokens * after.solved) if after.solved else 0.0
    return {
        name: _scaled(reading, factor) if name.endswith("_per_solved_task") else reading
        for name, reading in readings.items()
        if factor or not name.endswith("_per_solved_task")
    }


def _scaled(reading: Reading, factor: float) -> Reading:
    return msgspec.structs.replace(
        reading,
        value=reading.value * factor,
        low=None if reading.low is None else reading.low * factor,
        high=None if reading.high is None else reading.high * factor,
        source=f"{reading.source}, x {factor:.4g} after scoring again",
    )


def _work_before(role: Role, given: Given) -> Work:
    lines = [g for (r, _), g in given.items() if r == role and g.perturbation is None]
    return Work(sum(g.tokens for g in lines), sum(g.verdict == "passed" for g in lines))
