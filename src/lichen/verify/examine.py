"""One run from two models to a verdict; every step is kept, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import msgspec

from lichen import __version__, tasks
from lichen.errors import InputError, ResourceError
from lichen.perturb import perturbations
from lichen.sandbox import Sandbox, SandboxError
from lichen.tasks import Style, TaskSet
from lichen.verify import correctness, gate, robustness
from lichen.verify.cache import CompletionCache
from lichen.verify.model import ModelFacts, ModelSource
from lichen.verify.progress import Progress
from lichen.verify.questions import Answer, Exam, Question, answer, keep_sound, unreadable
from lichen.verify.record import (
    Correctness,
    Divergence,
    Exclusion,
    Machine,
    ModelRecord,
    Record,
    Resources,
    Robustness,
    Role,
)
from lichen.verify.run import CACHE, RunFolder

RECORD = "record.json"
COMPLETIONS = "completions.jsonl"

#: What the two models are called in front of people.
TITLES: dict[Role, str] = {"reference": "Original", "candidate": "Candidate"}


@dataclass(frozen=True)
class Settings:
    """What to test, how much, and what is still acceptable.

    tasks             task sets as `lichen.tasks.load` takes them; all of them decide
    style             how tasks are put; "auto" is chat where both models have a chat template
    max_tokens        the longest answer
    margin            drop of pass@1, and of robust pass@1, that is still acceptable (a fraction)
    robustness_tasks  how many tasks of the first set are perturbed, spread over its difficulties
    perturbations     which of them; all when None
    seeds             one perturbed prompt for each, where a perturbation is random
    """

    tasks: tuple[str, ...] = ("basics",)
    style: Literal["auto", "chat", "completion"] = "auto"
    max_tokens: int = 256
    margin: float = 0.03
    robustness_tasks: int = 20
    perturbations: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    allow_weak_sandbox: bool = False
    unsafe_no_sandbox: bool = False

    def __post_init__(self) -> None:
        faults = [
            fault
            for wrong, fault in (
                (not self.tasks, "no task set is given"),
                (len(set(self.tasks)) < len(self.tasks), "a task set is given twice"),
                (not 0 < self.margin < 1, f"the margin is {self.margin}, must be in (0, 1)"),
                (self.max_tokens < 1, f"max_tokens is {self.max_tokens}, must be 1 or more"),
                (
                    self.robustness_tasks < 0,
                    f"{self.robustness_tasks} robustness tasks; give 0 (none) or more",
                ),
                (not self.seeds, "no seed is given"),
            )
            if wrong
        ]
        if faults:
            raise InputError("; ".join(faults) + ".")


@dataclass(frozen=True)
class Work:
    """What a model's answers to the task sets took: tokens in all, and how many passed."""

    tokens: int
    solved: int


@dataclass(frozen=True)
class Probes:
    """The steps that need more of a model than prompt -> text; None leaves one out."""

    machine: Callable[[], Machine]
    resources: Callable[[Mapping[Role, Work]], Resources] | None = None
    divergence: Callable[[], Divergence | None] | None = None


@dataclass(frozen=True)
class Paper:
    """Everything that will be asked, and what had to be left out."""

    sets: tuple[TaskSet, ...]
    questions: tuple[tuple[Question, ...], ...]
    excluded: tuple[tuple[Exclusion, ...], ...]
    trials: robustness.Plan

    def all(self) -> list[Question]:
        """Each question once, those of the task sets first."""
        nominal = [question for part in self.questions for question in part]
        return list(dict.fromkeys([*nominal, *self.trials.questions()]))


def load_tasks(settings: Settings) -> tuple[TaskSet, ...]:
    """The task sets; InputError for what cannot be loaded or does not exist."""
    unknown = sorted(set(settings.perturbations or ()) - set(perturbations()))
    if unknown:
        raise InputError(
            f"no perturbation {', '.join(unknown)}; there are {', '.join(perturbations())}."
        )
    return tuple(tasks.load(name) for name in settings.tasks)


def examine(
    reference: ModelSource,
    candidate: ModelSource,
    run: RunFolder,
    settings: Settings,
    probes: Probes,
    *,
    command: str,
    progress: Progress,
    started: float | None = None,
) -> Record:
    """Compare two models on all axes; writes record.json and completions.jsonl into the run.

    Greedy answers are kept in the run's cache.jsonl under the model's digest, so nothing is asked
    twice.  A model held against itself is asked again all the same: that it gives the same
    answers is what such a run is to show.  `started` is when the command began, by
    `time.monotonic`.
    """
    started = time.monotonic() if started is None else started
    sets = load_tasks(settings)
    style = _style(settings, reference, candidate)
    exam = Exam(style, settings.max_tokens)
    unread = partial(
        unreadable, exam=exam, sources={"reference": reference, "candidate": candidate}
    )
    try:
        with (
            Sandbox(
                allow_weak=settings.allow_weak_sandbox, unsafe=settings.unsafe_no_sandbox
            ) as sandbox,
            CompletionCache(run.path / CACHE) as cache,
        ):
            level = sandbox.level
            paper = _set_paper(sets, settings, unread, sandbox, progress)
            questions = paper.all()
            answers = {
                role: answer(
                    source,
                    questions,
                    exam,
                    cache=cache,
                    namespace=namespace,
                    sandbox=sandbox,
                    progress=progress,
                    title=TITLES[role],
                )
                for role, source, namespace in _sittings(reference, candidate)
            }
    except SandboxError as error:
        raise ResourceError(str(error)) from error
    axis1, axis2 = _mark(paper, questions, answers, style, settings)
    divergence = probes.divergence() if probes.divergence else None
    resources = None
    if probes.resources:
        resources = probes.resources({role: _work(given) for role, given in answers.items()})
    unsafe = level == "none"
    record = Record(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_seconds=round(time.monotonic() - started, 3),
        command=command,
        reference=_model("reference", reference),
        candidate=_model("candidate", candidate),
        machine=probes.machine(),
        sandbox_level=level,
        unsafe=unsafe,
        settings=_settings(settings, style, paper),
        correctness=axis1,
        robustness=axis2,
        divergence=divergence,
        resources=resources,
        verdict=gate.decide(
            axis1, axis2, divergence, resources, unsafe=unsafe, sandbox_level=level
        ),
    )
    _write(run, record, answers, reference, candidate)
    return record


def _style(settings: Settings, *models: ModelSource) -> Style:
    if settings.style != "auto":
        return settings.style
    return "chat" if all(model.has_chat for model in models) else "completion"


def _sittings(
    reference: ModelSource, candidate: ModelSource
) -> Iterable[tuple[Role, ModelSource, str]]:
    """Who is asked, and under what name the answers are kept."""
    again = "again:" if reference.digest == candidate.digest else ""
    yield "reference", reference, f"{__version__}:{reference.digest}"
    yield "candidate", candidate, f"{again}{__version__}:{candidate.digest}"


def _set_paper(
    sets: Sequence[TaskSet],
    settings: Settings,
    unread: Callable[[Sequence[Question]], dict[Question, Exclusion]],
    sandbox: Sandbox,
    progress: Progress,
) -> Paper:
    questions, excluded = [], []
    for part in sets:
        asked = [Question(part.name, task) for task in part.tasks]
        sound, broken = keep_sound(asked, sandbox, progress, f"Checking {part.name}")
        broken |= unread(sound)
        sound = [question for question in sound if question not in broken]
        if not sound:
            first = broken[asked[0]]
            raise InputError(
                f"{part.name}: none of its {len(asked)} tasks can be used; the first is "
                f"{first.task}: {first.reason}."
            )
        questions.append(tuple(sound))
        excluded.append(tuple(broken.values()))
    chosen = _subset(sets[0], questions[0], settings.robustness_tasks)
    names = perturbations() if settings.perturbations is None else settings.perturbations
    trials = robustness.plan(
        chosen, names if chosen else (), settings.seeds, sandbox, progress, unread
    )
    return Paper(tuple(sets), tuple(questions), tuple(excluded), trials)


def _subset(part: TaskSet, sound: Sequence[Question], count: int) -> list[Question]:
    """`count` of the sound questions, spread over the difficulties of their set."""
    if count == 0:
        return []
    chosen = {task.id for task in part.subset(min(count, len(part.tasks))).tasks}
    return [question for question in sound if question.task.id in chosen]


def _mark(
    paper: Paper,
    questions: Sequence[Question],
    answers: dict[Role, list[Answer]],
    style: str,
    settings: Settings,
) -> tuple[list[Correctness], Robustness | None]:
    reference = dict(zip(questions, answers["reference"], strict=True))
    candidate = dict(zip(questions, answers["candidate"], strict=True))
    axis1 = [
        correctness.compare(
            part.name,
            style,
            [reference[q] for q in asked],
            [candidate[q] for q in asked],
            excluded,
            margin=settings.margin,
        )
        for part, asked, excluded in zip(paper.sets, paper.questions, paper.excluded, strict=True)
    ]
    if not paper.trials.trials:
        return axis1, None
    return axis1, robustness.compare(paper.trials, reference, candidate, margin=settings.margin)


def _work(answers: Sequence[Answer]) -> Work:
    """Of the unperturbed questions: perturbed ones are no work that anybody wants done."""
    plain = [answer for answer in answers if answer.question.perturbation is None]
    return Work(
        tokens=sum(answer.completion.tokens for answer in plain),
        solved=sum(answer.passed for answer in plain),
    )


def _model(role: Role, source: ModelSource) -> ModelRecord:
    facts: ModelFacts = source.facts
    return ModelRecord(
        role=role,
        name=facts.name,
        description=facts.description,
        path=str(source.path),
        digest=source.digest,
        scheme=facts.scheme,
        parameters=facts.parameters,
        bits_per_weight=facts.bits_per_weight,
    )


def _settings(
    settings: Settings, style: str, paper: Paper
) -> dict[str, str | int | float | bool | None]:
    prompts = [q.task.prompt for q in paper.all()]
    return {
        "tasks": " ".join(settings.tasks),
        "tasks_sha256": " ".join(part.digest for part in paper.sets),
        "questions_sha256": hashlib.sha256(msgspec.json.encode(prompts)).hexdigest(),
        "style": style,
        "sampling": "greedy",
        "samples_per_task": 1,
        "max_tokens": settings.max_tokens,
        "margin": settings.margin,
        "robustness_tasks": settings.robustness_tasks,
        "perturbations": " ".join(paper.trials.used),
        "seeds": " ".join(map(str, settings.seeds)),
    }


def _write(
    run: RunFolder,
    record: Record,
    answers: dict[Role, list[Answer]],
    reference: ModelSource,
    candidate: ModelSource,
) -> None:
    """The completions first: a record that is there has its evidence beside it."""
    digests: dict[Role, str] = {"reference": reference.digest, "candidate": candidate.digest}
    lines = [
        msgspec.json.encode(answer.record(role, digests[role])) + b"\n"
        for role, given in answers.items()
        for answer in given
    ]
    run.write(COMPLETIONS, b"".join(lines))
    run.write(RECORD, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
