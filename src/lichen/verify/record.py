"""The record of a run: every figure that a report shows, as plain data with a schema version.

``record.json`` holds one `Record`; ``completions.jsonl`` holds one `CompletionRecord` a line,
from which everything can be scored again.  Reports read these two files and nothing else.

A field that is new gets a default, and older records are read with it; a field that is unknown is
passed over.  When an old field changes its meaning or goes, the schema version goes up and
`reader` learns to read the version before.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from lichen.completion import FinishReason
from lichen.measure.reading import Reading

SCHEMA_VERSION = 2

Decision = Literal["accept", "reject", "undecided"]
Role = Literal["reference", "candidate"]

#: The value of a setting; several values are a list.
Setting = str | int | float | bool | list[str | int] | None


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate with its interval, as fractions (0.05 is five points)."""

    estimate: float
    low: float
    high: float
    confidence: float
    method: str


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which model took part, in words for people and digests for machines.

    `path` is its URL where it was asked over the network; None, or "unknown", is then what its
    server did not say.
    """

    role: Role
    name: str
    description: str
    path: str
    digest: str
    scheme: str
    parameters: int | None
    bits_per_weight: float | None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures were taken."""

    processor: str
    cores: int
    threads: int
    isa: str
    kv_cache: str = "float32"  # what keys and values were stored as
    memory_bytes: int
    system: str
    python: str
    lichen: str


class TaskOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts on one task, one for each sample (passed, failed, error, ... of the sandbox)."""

    task: str
    reference: list[str]
    candidate: list[str]


class Exclusion(msgspec.Struct, frozen=True, kw_only=True):
    """A task that was left out, and why: never in silence."""

    task: str
    reason: str


class PassAt(msgspec.Struct, frozen=True, kw_only=True):
    """pass@k of both models (Chen et al., arXiv 2107.03374, eq. 1), and the difference."""

    k: int
    reference: Interval
    candidate: Interval
    difference: Interval


class Correctness(msgspec.Struct, frozen=True, kw_only=True):
    """One task set, both models, pass@1, paired by task.

    ``lost`` and ``gained`` are the tasks that the candidate solves less often and more often, of
    the ``samples`` answers to each; ``p_value`` is of ``test``, for "no difference".
    ``pass_at`` has pass@k for every k that the samples allow, 1 the first.
    """

    tasks: str
    source: str = ""
    style: str
    samples: int = 1
    count: int
    excluded: list[Exclusion]
    reference: Interval
    candidate: Interval
    outcomes: list[TaskOutcome]
    lost: list[str]
    gained: list[str]
    pass_at: list[PassAt] = []
    test: str = "exact McNemar"
    p_value: float
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
    """Distance of next-token distributions on code, in nats; KL is D(reference || candidate).

    ``kld_se`` is the standard error of ``kld_mean``; None in records that were made without it.
    """

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
    kld_se: float | None = None


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


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """An answer whose verdict was another when the same run was scored before."""

    role: Role
    tasks: str
    task: str
    perturbation: str | None
    seed: int | None
    sample: int
    before: str
    after: str


class Rescoring(msgspec.Struct, frozen=True, kw_only=True):
    """That a record was made from answers that were there already, and what came out otherwise.

    ``created`` is when the run was scored before, ``judged`` how many answers there are.
    """

    created: str
    judged: int
    changed: list[Changed]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run found out; ``completions`` is the number of answers in its file."""

    schema_version: int = SCHEMA_VERSION
    created: str
    duration_seconds: float
    command: str
    reference: ModelRecord
    candidate: ModelRecord
    machine: Machine
    sandbox_level: str
    unsafe: bool
    settings: dict[str, Setting]
    correctness: list[Correctness]
    robustness: Robustness | None
    divergence: Divergence | None
    resources: Resources | None
    verdict: Verdict
    completions: int | None = None
    rescored: Rescoring | None = None


class CompletionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One generated answer and what became of it.

    ``sample`` counts the answers to the same prompt from 0.  ``task_sha256`` is the task's, with
    its tests (empty in records of schema 1).
    """

    role: Role
    model_digest: str
    tasks: str
    task: str
    task_sha256: str = ""
    perturbation: str | None
    seed: int | None
    sample: int = 0
    prompt: str
    prompt_sha256: str
    text: str
    program: str
    finish_reason: FinishReason
    prompt_tokens: int
    tokens: int
    verdict: str
    detail: str
    forgeable: bool = False
