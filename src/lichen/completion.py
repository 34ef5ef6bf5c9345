"""What is asked of a model and what comes back: the one vocabulary that all parts share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "eos", "length", "cancelled"]


@dataclass(frozen=True)
class Request:
    """One prompt with the way to continue it.

    The prompt is final text: chat templates are already applied, and the text of special tokens
    ("<|im_start|>") is read as those tokens.  ``temperature`` 0 is greedy; otherwise sampling is
    seeded by ``seed`` alone, so the same request gives the same text whatever runs beside it.
    Generation ends at the first of ``stop`` (which is cut off), at an end-of-text token, or after
    ``max_tokens`` tokens.
    """

    prompt: str
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completion:
    """The text that continues a prompt, why it ended, and its length in tokens.

    A server may keep to itself how many tokens there were: then they are 0, which no count is.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    tokens: int
