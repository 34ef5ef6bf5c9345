"""How a server is asked: which endpoint, and which fields it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lichen.completion import Request

#: Fields beyond OpenAI's with which vLLM and llama.cpp leave the distribution as the model gives
#: it; both would else apply a repetition penalty or a cut of their own, even to greedy answers.
PLAIN_SAMPLING = {"repetition_penalty": 1.0, "repeat_penalty": 1.0, "top_k": 0, "min_p": 0.0}

#: Stop strings that every server takes; OpenAI's takes no more.
FEW_STOPS = 4

#: As many stops as any prompt style has, and more; none of them occurs in a first token.
PROBED_STOPS = tuple(f"\n# stop {number}\n" for number in range(12))


@dataclass(frozen=True)
class Dialect:
    """One way to put a request.

    chat    by messages to /chat/completions, else as raw text to /completions
    strict  with OpenAI's own fields alone, and no more than `FEW_STOPS` stop strings
    """

    chat: bool
    strict: bool

    @property
    def path(self) -> str:
        """The endpoint, behind the server's URL."""
        return "/chat/completions" if self.chat else "/completions"

    def payload(self, model: str, request: Request) -> dict[str, Any]:
        """The document to post.  A prompt by chat is JSON already: see `messages_as_prompt`."""
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stream": False,
        }
        if self.chat:
            asked["messages"] = msgspec.Raw(request.prompt.encode())
        else:
            asked["prompt"] = request.prompt
        if stops := request.stop[: FEW_STOPS if self.strict else None]:
            asked["stop"] = list(stops)
        return asked if self.strict else asked | PLAIN_SAMPLING

    def probe(self) -> Request:
        """The smallest request that shows whether a server speaks like this."""
        prompt = messages_as_prompt([{"role": "user", "content": "Hi"}]) if self.chat else "def"
        stops = PROBED_STOPS[: FEW_STOPS if self.strict else None]
        return Request(prompt, max_tokens=1, stop=stops)


def messages_as_prompt(messages: Sequence[dict[str, str]]) -> str:
    """A conversation as the text that stands for it in records: what is sent, letter by letter."""
    return msgspec.json.encode(list(messages)).decode()
