"""Measures a model in a fresh child process, so that memory and load time are its own.

Time in a process that has already run another model would be flattered by its warm caches, and
its peak memory would be the larger model's.  The child is `lichen.measure.timing`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from lichen.measure import child
from lichen.measure.reading import Reading

#: The module that runs as the child.
CHILD = "lichen.measure.timing"
#: module:function that loads a model; looked up in the child only, so that measuring does not
#: import the engine.
LOADER = "lichen.loading:load"
TIMEOUT_SECONDS = 900.0


class Job(msgspec.Struct, frozen=True):
    """What the child is asked to do."""

    model: str
    loader: str
    threads: int | None
    isa: str | None
    dtype: str
    kv_cache: str
    cache_bytes: int | None


def measure_model(
    model: Path,
    *,
    threads: int | None = None,
    isa: str | None = None,
    dtype: str = "auto",
    kv_cache: str = "float16",
    cache_bytes: int | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> dict[str, Reading]:
    """Load and run a model in a child process; readings by name.

    load_time, peak_memory, first_token, decode_speed, prefill_speed, batch_speed and
    cpu_per_token (CPU seconds per token on a batch, from which energy is modelled).

    Raises InputError for a model that cannot be loaded, ResourceError when the child dies.
    """
    job = Job(str(model.absolute()), LOADER, threads, isa, dtype, kv_cache, cache_bytes)
    doing = f"measuring {model}"
    return child.ask(CHILD, job, dict[str, Reading], doing=doing, timeout=timeout)
