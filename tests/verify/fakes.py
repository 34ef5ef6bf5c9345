"""Models that are made of a function, and task sets that are easy to count."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lichen.completion import Completion, Request
from lichen.verify.model import ModelFacts
from lichen.verify.record import Machine

MACHINE = Machine(
    processor="test",
    cores=1,
    threads=1,
    isa="portable",
    memory_bytes=1,
    system="test",
    python="3",
    lichen="0",
)

BODY = "    total = value\n    total = total + {number}\n    return total\n"


def write_tasks(path: Path, count: int, *, broken: Sequence[int] = ()) -> Path:
    """`count` tasks, add_0 to add_N; the references of `broken` fail their own tests."""
    lines = []
    for number in range(count):
        name = f"add_{number}"
        body = BODY.format(number=number + (1 if number in broken else 0))
        lines.append(
            json.dumps(
                {
                    "task_id": f"t/{name}",
                    "prompt": (
                        f"def {name}(value):\n"
                        f'    """Return the value with {number} added to it, as a number."""\n'
                    ),
                    "entry_point": name,
                    "canonical_solution": body,
                    "test": f"assert candidate(1) == {number + 1}\nassert candidate(0) == {number}",
                }
            )
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@dataclass
class FakeModel:
    """A model source and the model in one; `wrong` are the numbers that it gets wrong."""

    digest: str
    wrong: frozenset[int] = frozenset()
    seconds: float = 0.0
    has_chat: bool = False
    longest: int = 1_000_000
    path: Path = Path("fake")
    asked: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    opened: int = 0
    after: Callable[[int], None] = lambda count: None

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(self.digest, f"fake {self.digest}", "float32", 1000, 32.0)

    def chat(self, messages: list[dict[str, str]]) -> str:
        return f"<user>{messages[0]['content']}</user>\n"

    def refusal(self, prompt: str) -> str | None:
        return f"{len(prompt)} letters" if len(prompt) > self.longest else None

    @contextmanager
    def open(self) -> Iterator[FakeModel]:
        self.opened += 1
        yield self

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Last request first, to show that order does not matter."""
        self.requests += requests
        for index in reversed(range(len(requests))):
            time.sleep(self.seconds)
            prompt = requests[index].prompt
            self.asked.append(prompt)
            yield index, Completion(self.respond(requests[index]), "eos", len(prompt), 10)
            self.after(len(self.asked))

    def respond(self, request: Request) -> str:
        return self.answer(request.prompt)

    def answer(self, prompt: str) -> str:
        *_, name = re.finditer(r"^def \w*?(\d+)\(", prompt, re.MULTILINE)
        number, code = int(name[1]), prompt[name.start() :]
        if number in self.wrong:
            return "    return None\n"
        variable = "VAR_0" if "VAR_0" in code else "value"
        return f"    return {variable} + {number}\n"


@dataclass
class Wavering(FakeModel):
    """Greedily right; of its samples, those with a seed in the first `share` of all seeds."""

    share: float = 0.5

    def respond(self, request: Request) -> str:
        right = request.temperature == 0 or request.seed < self.share * 2**31
        return self.answer(request.prompt) if right else "    return None\n"
