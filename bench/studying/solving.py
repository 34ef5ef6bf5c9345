"""HumanEval answered by a loaded model, without a run's folder around it."""

from __future__ import annotations

from lichen import tasks as library
from lichen.completion import Request
from lichen.loading import LanguageModel
from lichen.sandbox import Sandbox
from lichen.tasks.extraction import program
from lichen.tasks.prompting import render
from lichen.verify.progress import Silent
from lichen.verify.questions import judge

MAX_TOKENS = 512


def solved(model: LanguageModel, count: int) -> int:
    """How many of the first ``count`` tasks the model's greedy answers solve."""
    chosen = library.load("humaneval").tasks[:count]
    chat = model.tokenizer.has_chat
    prompts = [
        render(task, "chat", model.tokenizer.chat) if chat else render(task, "completion")
        for task in chosen
    ]
    requests = [Request(p.text, MAX_TOKENS, stop=tuple(p.stop)) for p in prompts]
    answers = dict(model.generate(requests))
    programs = [
        program(task, prompt, answers[number].text)
        for number, (task, prompt) in enumerate(zip(chosen, prompts, strict=True))
    ]
    with Sandbox() as sandbox:
        results = judge(sandbox, chosen, programs, Silent(), "scoring")
    return sum(result.verdict == "passed" for result in results)
