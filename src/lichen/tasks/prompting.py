"""From a task to the text that a model goes on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lichen.errors import InputError
from lichen.tasks.task import Task

Style = Literal["chat", "chat-open", "completion"]
#: Chat messages, each {"role", "content"}, to the text of the model's own template.
Template = Callable[[list[dict[str, str]]], str]

INSTRUCTION = (
    "Please write a self-contained Python script that solves the following problem, "
    "in one Markdown code block:"
)
# Without this sentence small models take a short function for done and close the block at once:
# 6 of 24 one-line tasks with Qwen2.5-Coder-0.5B-Instruct, none with it.
OPENING = "Here is a self-contained Python script that solves the problem and passes its tests:"
FENCE = "```"

# A chat model closes the block when it is done, but often adds an example or a test first: nothing
# after these can help the answer.  Helper functions may follow it, so "\ndef " is no stop.
CHAT_STOPS = (
    "\n" + FENCE,
    "\nif __name__",
    "\nprint(",
    "\nassert ",
    "\n# Example",
    "\n# Check",
    "\n# Test",
    "\n# Usage",
    "\n# test",
)
# The stops of Chen et al., arXiv 2107.03374, and a decorator, which also ends a body.
COMPLETION_STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@")


@dataclass(frozen=True)
class Prompt:
    """What to give to the model, where to stop it, and what its answer continues.

    ``prefix`` is the source that is already there: the program is the prefix and the answer.
    """

    text: str
    stop: tuple[str, ...]
    prefix: str


def render(task: Task, style: Style, chat: Template | None = None) -> Prompt:
    """The prompt of a task in one of three styles.

    completion: the bare prompt, to be gone on from.
    chat: a user turn in the model's template, and the answer begun as far as the prompt goes,
    inside its code block, so that the model has only the body to write.
    chat-open: the same user turn, and the whole answer left to the model; for servers that take
    messages alone.  No stop: where the code block begins and ends is only seen in the whole.
    Raises `InputError` for chat with a model that has no chat template.
    """
    prefix = task.prompt.rstrip(" \t")  # a half-typed indentation would split a token
    if not prefix.endswith("\n"):
        prefix += "\n"
    if style == "completion":
        return Prompt(text=prefix, stop=COMPLETION_STOPS, prefix=prefix)
    if chat is None:
        raise InputError(
            "this model has no chat template: use the prompt style completion instead of chat"
        )
    question = f"{INSTRUCTION}\n{FENCE}python\n{task.prompt.strip()}\n{FENCE}"
    turn = chat([{"role": "user", "content": question}])
    if style == "chat-open":
        return Prompt(text=turn, stop=(), prefix=prefix)
    return Prompt(text=f"{turn}{OPENING}\n{FENCE}python\n{prefix}", stop=CHAT_STOPS, prefix=prefix)
