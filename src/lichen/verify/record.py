"""The record of a run: every figure that a report shows, as plain data with a schema version.

``record.json`` holds one `Record`; ``completions.jsonl`` holds one `CompletionRecord` a line,
from which everything can be scored again.  Reports read these two files and nothing else.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from lichen.measure.reading import Reading

SCHEMA_VERSION = 1

Decision = Literal["accept", "reject", "undecided"]
Role = Literal["reference", "candidate"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate with its interval, as fractions (0.05 is five points)."""

    estimate: float
    low: float
    high: float
    confidence: float
    method: str


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which model took part, in words for people and digests for machines."""

    role: Role
    name: str
    description: str
    path: str
    digest: str
    scheme: str
    parameters: int
    bits_per_weight: float


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures were taken."""

    processor: str
    cores: int
    threads: int
    isa: str
    memory_bytes: int
    system: str
    python: str
    lichen: str


class TaskOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts of both models on one task (sandbox verdicts: passed, failed, error, ...)."""

    task: str
    reference: str
    candidate: str


class Exclusion(msgspec.Struct, frozen=True, kw_only=True):
    """A task that was left out, and why: never in silence."""

    task: str
    reason: str


class Correctness(msgspec.Struct, frozen=True, kw_only=True):
    """One task set, both models, greedy pass@1, paired by task."""

    tasks: str
    style: str
    count: int
    excluded: list[Exclusion]
    reference: Interval
    candidate: Interval
    outcomes: list[TaskOutcome]
    lost: list[str]
    gained: list[str]
    mcnemar_p: float
    difference: Interval
    margin: float
    decision: Decision
    reason: str
    smallest_detectable_drop: float
    tasks_needed: int | None
    forgeable: list[str]


class PerturbationResult(msgspec.Struct, frozen=True, kw_only=True):
    """One perturbation on every task that it really changed, both models."""

    name: str
    category: str
    seeds: list[int]
    count: int
    excluded: list[Exclusion]
    nominal_reference: int
    nominal_candidate: int
    robust_reference: int
    robust_candidate: int
    flips_reference: int
    flips_candidate: int
    lost: list[str]
    gained: list[str]


class Robustness(msgspec.Struct, frozen=True, kw_only=True):
    """All perturbations of one task set (ReCode, arXiv 2212.10264: RP, RD and RR at k = 1).

    ``robust_pass`` is the share of tasks passed under every perturbation that applies to them,
    ``relative_drop`` (pass@1 - RP) / pass@1, ``flip_rate`` RR, the share of (task, perturbation)
    pairs whose verdict differs from the unperturbed one, either way.
    """

    tasks: str
    count: int
    perturbations: list[PerturbationResult]
    reference_pass: Interval
    candidate_pass: Interval
    reference_robust_pass: Interval
    candidate_robust_pass: Interval
    reference_relative_drop: float | None
    candidate_relative_drop: float | None
    reference_flip_rate: float
    candidate_flip_rate: float
    difference: Interval
    mcnemar_p: float
    decision: Decision
    reason: str


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Distance of next-token distributions on code, in nats; KL is D(reference || candidate)."""

    text: str
    text_sha256: str
    tokens: int
    kld_mean: float
    kld_p99: float
    kld_max: float
    top1_agreement: float
    nll_reference: float
    nll_candidate: float
    nll_difference: float
    nll_difference_se: float


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Readings by name, per model.  Names, each with its unit in the reading:

    size, load_time, peak_memory, first_token, decode_speed, batch_speed, prefill_speed,
    energy_per_token, energy_per_solved_task, co2_per_solved_task.
    """

    reference: dict[str, Reading]
    candidate: dict[str, Reading]
    assumptions: list[str]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The decision, why, in sentences for someone who decides, and what was not tested."""

    decision: Decision
    summary: str
    reasons: list[str]
    warnings: list[str]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run found out."""

    schema_version: int = SCHEMA_VERSION
    created: str
    duration_seconds: float
    command: str
    reference: ModelRecord
    candidate: ModelRecord
    machine: Machine
    sandbox_level: str
    unsafe: bool
    settings: dict[str, str | int | float | bool | None]
    correctness: list[Correctness]
    robustness: Robustness | None
    divergence: Divergence | None
    resources: Resources | None
    verdict: Verdict


class CompletionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One generated answer and what became of it."""

    role: Role
    model_digest: str
    tasks: str
    task: str
    perturbation: str | None
    seed: int | None
    prompt: str
    prompt_sha256: str
    text: str
    program: str
    finish_reason: str
    prompt_tokens: int
    tokens: int
    verdict: str
    detail: str
