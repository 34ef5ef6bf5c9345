"""lichen, as a worker of bench/peers.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import common

import lichen
from lichen.engine import Generation
from lichen.loading import load


class Lichen:
    """The engine under `lichen generate`, without guesses: peers have none here."""

    def __init__(self, job: dict[str, Any]) -> None:
        model = load(Path(job["model"]), threads=job["threads"], speculate=False)
        self._engine = model.engine
        self.version = f"lichen {lichen.__version__}"

    def prefill(self, prompt: list[int]) -> float:
        """Seconds to the first token."""
        begin, [times] = self._answer([prompt], 1)
        return times[0] - begin

    def decode(self, prompts: common.Prompts, tokens: int) -> float:
        """From the moment when all answers have begun to the moment when the first one ends."""
        _, answers = self._answer(prompts, 1 + tokens)
        begin, end = max(t[0] for t in answers), min(t[-1] for t in answers)
        return sum(begin < at <= end for times in answers for at in times) / (end - begin)

    def _answer(self, prompts: common.Prompts, tokens: int) -> tuple[float, list[list[float]]]:
        answers: list[list[float]] = [[] for _ in prompts]

        def writer(times: list[float]) -> Any:
            def accept(_: int) -> bool:
                times.append(time.perf_counter())
                return True

            return accept

        work = [Generation(p, tokens, writer(t)) for p, t in zip(prompts, answers, strict=True)]
        begin = time.perf_counter()
        for _ in self._engine.run(work):
            pass
        return begin, answers


if __name__ == "__main__":
    common.work(Lichen)
