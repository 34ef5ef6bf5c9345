"""One run from two models to a verdict; every step is kept, so that an interrupted run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from lichen import __version__
from lichen.sandbox import Level
from lichen.tasks import Style, TaskSet
from lichen.verify import gate
from lichen.verify.boxes import sandboxes
from lichen.verify.cache import CompletionCache
from lichen.verify.marking import Work, keep, mark, recorded, work
from lichen.verify.model import ModelFacts, ModelSource
from lichen.verify.paper import Paper, load_tasks, set_paper
from lichen.verify.progress import Progress
from lichen.verify.questions import Answer, Exam, answer, unreadable
from lichen.verify.record import Divergence, Machine, ModelRecord, Record, Resources, Role
from lichen.verify.run import CACHE, RunFolder
from lichen.verify.settings import Settings

#: What the two models are called in front of people.
TITLES: dict[Role, str] = {"reference": "Original", "candidate": "Candidate"}


@dataclass(frozen=True)
class Probes:
    """The steps that need more of a model than prompt -> text; None leaves one out."""

    machine: Callable[[], Machine]
    resources: Callable[[Mapping[Role, Work]], Resources] | None = None
    divergence: Callable[[], Divergence | None] | None = None


def examine(
    reference: ModelSource,
    candidate: ModelSource,
    run: RunFolder,
    settings: Settings,
    probes: Probes,
    *,
    command: str,
    progress: Progress,
    sets: Sequence[TaskSet] | None = None,
    started: float | None = None,
) -> Record:
    """Compare two models on all axes; writes record.json and completions.jsonl into the run.

    Answers are kept in the run's cache.jsonl under the model's digest and what keys and values are
    stored as, so nothing is asked twice.
    A model held against itself is asked again all the same: that it gives the same answers is what
    such a run is to show.  `sets` are the task sets where they are loaded already; `started` is
    when the command began, by `time.monotonic`.
    """
    started = time.monotonic() if started is None else started
    sets = load_tasks(settings) if sets is None else sets
    style, machine = _style(settings, reference, candidate), probes.machine()
    sittings = _sittings(reference, candidate, machine.kv_cache)
    level, paper, answers = _sit(sittings, run, settings, style, sets, progress)
    axis1, axis2 = mark(paper, answers, style, settings.margin)
    divergence = probes.divergence() if probes.divergence else None
    resources = None
    if probes.resources:
        resources = probes.resources({role: work(given) for role, given in answers.items()})
    unsafe = level == "none"
    record = Record(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_seconds=round(time.monotonic() - started, 3),
        command=command,
        reference=_model("reference", reference),
        candidate=_model("candidate", candidate),
        machine=machine,
        sandbox_level=level,
        unsafe=unsafe,
        settings=recorded(settings, style, paper),
        correctness=axis1,
        robustness=axis2,
        divergence=divergence,
        resources=resources,
        verdict=gate.decide(
            axis1, axis2, divergence, resources, unsafe=unsafe, sandbox_level=level
        ),
        completions=sum(map(len, answers.values())),
    )
    digests: dict[Role, str] = {"reference": reference.digest, "candidate": candidate.digest}
    keep(run, record, [a.record(role, digests[role]) for role in answers for a in answers[role]])
    return record


def _sit(
    sittings: Sequence[tuple[Role, ModelSource, str]],
    run: RunFolder,
    settings: Settings,
    style: Style,
    sets: Sequence[TaskSet],
    progress: Progress,
) -> tuple[Level, Paper, dict[Role, list[Answer]]]:
    """Put everything to both models: the sandbox's level, what was asked, the judged answers."""
    exam = Exam(
        style, settings.max_tokens, settings.temperature, settings.top_p, settings.sampling_seed
    )
    unread = partial(unreadable, exam=exam, sources={role: source for role, source, _ in sittings})
    allowed = {"allow_weak": settings.allow_weak_sandbox, "unsafe": settings.unsafe_no_sandbox}
    with sandboxes(sets, **allowed) as boxes, CompletionCache(run.path / CACHE) as cache:
        paper = set_paper(sets, settings, unread, boxes, progress)
        asks = paper.asks(settings.samples)
        answers = {
            role: answer(
                source,
                asks,
                exam,
                cache=cache,
                namespace=namespace,
                boxes=boxes,
                progress=progress,
                title=TITLES[role],
            )
            for role, source, namespace in sittings
        }
        return boxes.level, paper, answers


def _style(settings: Settings, *models: ModelSource) -> Style:
    if settings.style != "auto":
        return settings.style
    return "chat" if all(model.has_chat for model in models) else "completion"


def _sittings(
    reference: ModelSource, candidate: ModelSource, kv_cache: str
) -> list[tuple[Role, ModelSource, str]]:
    """Who is asked, and under what name the answers are kept."""
    how = f"{__version__}:{kv_cache}"
    again = "again:" if reference.digest == candidate.digest else ""
    return [
        ("reference", reference, f"{how}:{reference.digest}"),
        ("candidate", candidate, f"{again}{how}:{candidate.digest}"),
    ]


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
