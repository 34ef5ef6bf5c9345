"""How fast a model runs, timed in a child process, `lichen.measure.speed`: question and answer."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lichen.measure import child

#: The module that runs as the child.
CHILD = "lichen.measure.speed"
TIMEOUT_SECONDS = 1800.0
#: Prompts of a batch: 32 of them fit one step, so that all begin to answer together.
BATCH_PROMPT = 16


class Workload(msgspec.Struct, frozen=True):
    """The lengths to time, in tokens, and how often."""

    prompts: tuple[int, ...] = (128, 512, 2048)
    contexts: tuple[int, ...] = (0, 1024, 4096)
    batches: tuple[int, ...] = (1, 8, 32)
    tokens: int = 32  # of each answer
    repeats: int = 3
    profile: bool = False


class Job(msgspec.Struct, frozen=True):
    """What the child is asked to do."""

    model: str
    threads: int | None
    isa: str | None
    kv_cache: str
    cache_bytes: int | None
    workload: Workload


class Rate(msgspec.Struct, frozen=True):
    """Tokens a second, the median of repetitions with their range; or why there is none."""

    tok_s: float | None = None
    low: float | None = None
    high: float | None = None
    repeats: int = 0
    reason: str | None = None


class Speeds(msgspec.Struct, frozen=True, kw_only=True):
    """What the child found; tables by prompt length, context length and number of answers."""

    scheme: str
    load_s: float
    prefill: dict[int, Rate]
    decode: dict[int, Rate]
    batch: dict[int, Rate]
    weight_bytes: int  # that every step reads
    cache_bytes: float  # of keys and values, for each token of a context
    cache_budget_bytes: int  # of keys and values, when the cache is full
    token_operations: int  # of the products that every token goes through, two for a multiply-add
    row_operations: int  # of those for every token that is generated only: the output head
    integer: bool  # whether most of them multiply integers
    peak_rss_bytes: int
    profile: dict[str, dict[str, float]] | None = None  # thread-seconds a token, by operation


def measure_speeds(
    model: Path,
    workload: Workload,
    *,
    threads: int | None = None,
    isa: str | None = None,
    kv_cache: str = "float16",
    cache_bytes: int | None = None,
    update: child.Update | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Speeds:
    """Load a model in a child process and time it.

    Raises InputError for a model that cannot be loaded, ResourceError when the child dies.
    """
    job = Job(str(model.absolute()), threads, isa, kv_cache, cache_bytes, workload)
    doing = f"measuring {model}"
    return child.ask(CHILD, job, Speeds, doing=doing, timeout=timeout, update=update)
