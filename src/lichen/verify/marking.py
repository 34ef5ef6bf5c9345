"""From judged answers to a record: the axes, what the work took, and the files of a run."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from lichen.verify import correctness, robustness
from lichen.verify.paper import Paper
from lichen.verify.questions import Answer, Question
from lichen.verify.reader import COMPLETIONS, RECORD
from lichen.verify.record import (
    CompletionRecord,
    Correctness,
    Record,
    Robustness,
    Role,
    Setting,
)
from lichen.verify.run import RunFolder
from lichen.verify.settings import Settings


@dataclass(frozen=True)
class Work:
    """What a model's answers to the task sets took: tokens in all, and how many passed."""

    tokens: int
    solved: int


def mark(
    paper: Paper, answers: Mapping[Role, Sequence[Answer]], style: str, margin: float
) -> tuple[list[Correctness], Robustness | None]:
    """Both axes; robustness is None where nothing was perturbed."""
    reference, candidate = _by_question(answers["reference"]), _by_question(answers["candidate"])
    axis1 = [
        correctness.compare(
            part,
            style,
            [reference[q] for q in asked],
            [candidate[q] for q in asked],
            excluded,
            margin=margin,
        )
        for part, asked, excluded in zip(paper.sets, paper.questions, paper.excluded, strict=True)
    ]
    if not paper.trials.trials:
        return axis1, None
    first = [{q: given[0] for q, given in side.items()} for side in (reference, candidate)]
    return axis1, robustness.compare(paper.trials, *first, margin=margin)


def work(answers: Sequence[Answer]) -> Work:
    """Of the unperturbed questions: perturbed ones are no work that anybody wants done."""
    plain = [answer for answer in answers if answer.question.perturbation is None]
    return Work(
        tokens=sum(answer.completion.tokens for answer in plain),
        solved=sum(answer.passed for answer in plain),
    )


def recorded(settings: Settings, style: str, paper: Paper) -> dict[str, Setting]:
    """The settings as the record tells them, with digests of what was asked."""
    prompts = [ask.question.task.prompt for ask in paper.asks(1)]
    return {
        "tasks": list(settings.tasks),
        "tasks_sha256": [part.digest for part in paper.sets],
        "questions_sha256": hashlib.sha256(msgspec.json.encode(prompts)).hexdigest(),
        "data": None if settings.data is None else str(settings.data),
        "style": style,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "sampling_seed": settings.sampling_seed,
        "max_tokens": settings.max_tokens,
        "margin": settings.margin,
        "robustness_tasks": settings.robustness_tasks,
        "perturbations": list(paper.trials.used),
        "seeds": list(settings.seeds),
    }


def keep(run: RunFolder, record: Record, completions: Sequence[CompletionRecord]) -> None:
    """Write both files, each only when both are whole; the record, which vouches for both, last."""
    lines = b"".join(msgspec.json.encode(line) + b"\n" for line in completions)
    run.write_all(
        {COMPLETIONS: lines, RECORD: msgspec.json.format(msgspec.json.encode(record)) + b"\n"}
    )


def _by_question(answers: Sequence[Answer]) -> dict[Question, list[Answer]]:
    found: defaultdict[Question, list[Answer]] = defaultdict(list)
    for answer in answers:
        found[answer.question].append(answer)
    return found
