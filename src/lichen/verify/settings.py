"""What a run tests, how much of it, and what is still acceptable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lichen.errors import InputError
from lichen.tasks import Style


@dataclass(frozen=True)
class Settings:
    """What to test, how much, and what is still acceptable.

    tasks             task sets as `lichen.tasks.load` takes them; all of them decide
    data              folder with the files of sets that do not come with lichen
    style             how tasks are put; "auto" is chat where both models have a chat template
    max_tokens        the longest answer
    samples           answers to each task; more than one needs a temperature
    temperature       0 is greedy; robustness is tested greedily in any case
    top_p             the share of the likeliest tokens that are drawn from
    sampling_seed     other seeds give other samples
    margin            drop of pass@1, and of robust pass@1, that is still acceptable (a fraction)
    robustness_tasks  how many tasks of the first set are perturbed, spread over its difficulties
    perturbations     which of them; all when None
    seeds             one perturbed prompt for each, where a perturbation is random
    """

    tasks: tuple[str, ...] = ("basics",)
    data: Path | None = None
    style: Literal["auto"] | Style = "auto"
    max_tokens: int = 256
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    sampling_seed: int = 0
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
                *self._sampling_faults(),
            )
            if wrong
        ]
        if faults:
            raise InputError("; ".join(faults) + ".")

    def _sampling_faults(self) -> tuple[tuple[bool, str], ...]:
        greedy = self.temperature == 0
        return (
            (self.samples < 1, f"{self.samples} samples of each task; give 1 or more"),
            (
                not 0 <= self.temperature < math.inf,
                f"the temperature is {self.temperature}, must be 0 (greedy) or more",
            ),
            (not 0 < self.top_p <= 1, f"top_p is {self.top_p}, must be above 0 and at most 1"),
            (
                self.sampling_seed < 0,
                f"the sampling seed is {self.sampling_seed}, must be 0 or more",
            ),
            (
                greedy and self.samples > 1,
                f"{self.samples} samples at temperature 0 would be {self.samples} times the same "
                "greedy answer; give one sample, or a temperature such as 0.2 or 0.8",
            ),
            (
                greedy and 0 < self.top_p < 1,
                f"top_p {self.top_p} changes nothing at temperature 0; give a temperature above 0",
            ),
        )
