"""Questions put to a model, and its answers as the sandbox judged them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from lichen.completion import Completion, Request
from lichen.sandbox import Job, Result, Sandbox
from lichen.tasks import Style, Task
from lichen.tasks.extraction import program
from lichen.tasks.prompting import Prompt, render
from lichen.verify.boxes import Boxes
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

    @property
    def sha256(self) -> str:
        """Of all that decides how the task is put and how an answer is judged."""
        task = self.task
        parts = (task.prompt, task.entry_point, task.preamble, task.test, task.host, task.split)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


@dataclass(frozen=True)
class Ask:
    """One time that a question is put; ``sample`` counts the answers to the same prompt."""

    question: Question
    sample: int = 0


@dataclass(frozen=True)
class Answer:
    """What a model answered to a question, the program made of it, and the sandbox's verdict."""

    question: Question
    prompt: str
    completion: Completion
    program: str
    result: Result
    sample: int = 0

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
            task_sha256=self.question.sha256,
            perturbation=self.question.perturbation,
            seed=self.question.seed,
            sample=self.sample,
            prompt=self.prompt,
            prompt_sha256=hashlib.sha256(self.prompt.encode()).hexdigest(),
            text=self.completion.text,
            program=self.program,
            finish_reason=self.completion.finish_reason,
            prompt_tokens=self.completion.prompt_tokens,
            tokens=self.completion.tokens,
            verdict=self.result.verdict,
            detail=self.result.detail,
            forgeable=self.result.forgeable,
        )


@dataclass(frozen=True)
class Exam:
    """How questions are put: the prompt's style, the longest answer, and how tokens are drawn.

    The tasks themselves are sampled where ``temperature`` is above 0; perturbed ones, and what
    they are held against, are always asked greedily.
    """

    style: Style
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def request(self, ask: Ask, prompt: Prompt) -> Request:
        """What is asked of a model; the same for any model, whatever else is asked."""
        request = Request(prompt.text, self.max_tokens, stop=tuple(prompt.stop))
        if self.temperature == 0 or ask.question.perturbation is not None:
            return request
        seed = _seed(self.seed, ask)
        return replace(request, temperature=self.temperature, top_p=self.top_p, seed=seed)


def _seed(seed: int, ask: Ask) -> int:
    """A seed for each sample of each task, of the 31 bits that every server takes."""
    text = f"{seed}\0{ask.question.task.id}\0{ask.sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def answer(
    source: ModelSource,
    asks: Sequence[Ask],
    exam: Exam,
    *,
    cache: CompletionCache,
    namespace: str,
    boxes: Boxes,
    progress: Progress,
    title: str,
) -> list[Answer]:
    """Put questions to a model and judge its answers, in the order of the asks.

    The model is loaded only if the cache lacks an answer.  `namespace` says whose answers the
    cache holds: the model's digest, with anything else that tells two askings apart.
    """
    chat = source.chat if source.has_chat else None
    questions = dict.fromkeys(ask.question for ask in asks)
    prompts = {q: render(q.task, exam.style, chat) for q in questions}
    requests = [exam.request(ask, prompts[ask.question]) for ask in asks]
    keys = [key_of(namespace, request) for request in requests]
    _complete(source, requests, keys, cache, progress, title)
    completions = [cache[key] for key in keys]
    return judged(asks, [prompts[a.question] for a in asks], completions, boxes, progress, title)


def judged(
    asks: Sequence[Ask],
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    boxes: Boxes,
    progress: Progress,
    title: str,
) -> list[Answer]:
    """The answers with the programs made of them and the verdicts, each set in its sandbox."""
    programs = [
        program(ask.question.task, prompt, completion.text)
        for ask, prompt, completion in zip(asks, prompts, completions, strict=True)
    ]
    results: dict[int, Result] = {}
    for tasks, sandbox in boxes.of_set.items():
        here = [place for place, ask in enumerate(asks) if ask.question.tasks == tasks]
        found = judge(
            sandbox,
            [asks[place].question.task for place in here],
            [programs[place] for place in here],
            progress,
            f"{title}: scoring",
        )
        results |= dict(zip(here, found, strict=True))
    return [
        Answer(ask.question, prompts[i].text, completions[i], programs[i], results[i], ask.sample)
        for i, ask in enumerate(asks)
    ]


def _complete(
    source: ModelSource,
    requests: Sequence[Request],
    keys: Sequence[str],
    cache: CompletionCache,
    progress: Progress,
    title: str,
) -> None:
    """Ask the model whatever the cache has no answer to, all in one queue.

    Samples of one prompt follow each other there, so that they share the pages of its keys.
    """
    missing = cache.missing(keys)
    if not missing:
        return
    total = len(set(keys))
    done = total - len(missing)
    with progress.step(f"{title}: generating") as update, source.open() as model:
        update(done, total)
        for index, completion in model.generate([requests[i] for i in missing]):
            cache.put(keys[missing[index]], completion)
            done += 1
            update(done, total)


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
        Job(
            program=task.runnable(source),
            entry_point=task.entry_point,
            test=task.test,
            preamble=task.preamble,
            split=task.split,
            reference=task.runnable(task.reference),
        )
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
