"""Questions put to a model, and its answers as the sandbox judged them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lichen.completion import Completion, Request
from lichen.sandbox import Job, Result, Sandbox
from lichen.tasks import Style, Task
from lichen.tasks.extraction import program
from lichen.tasks.prompting import render
from lichen.verify.cache import CompletionCache, key_of
from lichen.verify.model import ModelSource
from lichen.verify.progress import Progress
from lichen.verify.record import CompletionRecord, Exclusion, Role


@dataclass(frozen=True)
class Question:
    """A task of a set, as it is (`perturbation` None) or perturbed with a seed."""

    tasks: str
    task: Task
    perturbation: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a model answered to a question, the program made of it, and the sandbox's verdict."""

    question: Question
    prompt: str
    completion: Completion
    program: str
    result: Result

    @property
    def passed(self) -> bool:
        """Whether the program passed the task's tests."""
        return self.result.verdict == "passed"

    def record(self, role: Role, digest: str) -> CompletionRecord:
        """The line of completions.jsonl, from which this answer can be scored again."""
        return CompletionRecord(
            role=role,
            model_digest=digest,
            tasks=self.question.tasks,
            task=self.question.task.id,
            perturbation=self.question.perturbation,
            seed=self.question.seed,
            prompt=self.prompt,
            prompt_sha256=hashlib.sha256(self.prompt.encode()).hexdigest(),
            text=self.completion.text,
            program=self.program,
            finish_reason=self.completion.finish_reason,
            prompt_tokens=self.completion.prompt_tokens,
            tokens=self.completion.tokens,
            verdict=self.result.verdict,
            detail=self.result.detail,
        )


@dataclass(frozen=True)
class Exam:
    """How questions are put: the prompt's style ("chat" or "completion") and its longest answer."""

    style: Style
    max_tokens: int


def answer(
    source: ModelSource,
    questions: Sequence[Question],
    exam: Exam,
    *,
    cache: CompletionCache,
    namespace: str,
    sandbox: Sandbox,
    progress: Progress,
    title: str,
) -> list[Answer]:
    """Put `questions` to a model and judge its answers, in the order of the questions.

    The model is loaded only if the cache lacks an answer.  `namespace` says whose answers the
    cache holds: the model's digest, with anything else that tells two askings apart.
    """
    chat = source.chat if source.has_chat else None
    prompts = [render(q.task, exam.style, chat) for q in questions]
    requests = [Request(p.text, exam.max_tokens, stop=tuple(p.stop)) for p in prompts]
    keys = [key_of(namespace, request) for request in requests]
    _complete(source, requests, keys, cache, progress, title)
    completions = [cache[key] for key in keys]
    programs = [
        program(question.task, prompt, completion.text)
        for question, prompt, completion in zip(questions, prompts, completions, strict=True)
    ]
    results = judge(sandbox, [q.task for q in questions], programs, progress, f"{title}: scoring")
    return [
        Answer(*parts)
        for parts in zip(
            questions, [p.text for p in prompts], completions, programs, results, strict=True
        )
    ]


def _complete(
    source: ModelSource,
    requests: Sequence[Request],
    keys: Sequence[str],
    cache: CompletionCache,
    progress: Progress,
    title: str,
) -> None:
    """Ask the model whatever the cache has no answer to, all in one queue."""
    missing = cache.missing(keys)
    if not missing:
        return
    done = len(set(keys)) - len(missing)
    with progress.step(f"{title}: generating") as update, source.open() as model:
        update(done, len(set(keys)))
        for index, completion in model.generate([requests[i] for i in missing]):
            cache.put(keys[missing[index]], completion)
            done += 1
            update(done, len(set(keys)))


def judge(
    sandbox: Sandbox,
    tasks: Sequence[Task],
    programs: Sequence[str],
    progress: Progress,
    title: str,
) -> list[Result]:
    """The sandbox's verdict on each program; equal jobs are run once."""
    if not tasks:
        return []
    jobs = [
        Job(program=source, entry_point=task.entry_point, test=task.test, preamble=task.preamble)
        for task, source in zip(tasks, programs, strict=True)
    ]
    places = list(dict.fromkeys(jobs))
    results: dict[Job, Result] = {}
    with progress.step(title) as update:
        for index, result in sandbox.run(places):
            results[places[index]] = result
            update(len(results), len(places))
    return [results[job] for job in jobs]


def unreadable(
    questions: Sequence[Question], exam: Exam, sources: Mapping[Role, ModelSource]
) -> dict[Question, Exclusion]:
    """The questions that are too long for one of the models, with the reason.

    Both leave them out: what one model is not asked, the other cannot be compared on.
    """
    found = {}
    for role, source in sources.items():
        chat = source.chat if source.has_chat else None
        for question in questions:
            reason = source.refusal(render(question.task, exam.style, chat).text)
            if reason is not None and question not in found:
                told = f"too long for the {role}: {reason}"
                found[question] = Exclusion(task=question.task.id, reason=told)
    return found


def keep_sound(
    questions: Sequence[Question], sandbox: Sandbox, progress: Progress, title: str
) -> tuple[list[Question], dict[Question, Exclusion]]:
    """Leave out, with the reason, the questions whose own reference solution fails its tests."""
    references = [question.task.reference for question in questions]
    results = judge(sandbox, [q.task for q in questions], references, progress, title)
    broken = {
        question: Exclusion(
            task=question.task.id,
            reason=f"its reference solution does not pass: {_told(result)}",
        )
        for question, result in zip(questions, results, strict=True)
        if result.verdict != "passed"
    }
    return [question for question in questions if question not in broken], broken


def _told(result: Result) -> str:
    return f"{result.verdict}, {result.detail}" if result.detail else result.verdict
