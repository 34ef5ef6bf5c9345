"""What this machine can do at most: the limits that a model's speed is held against.

Read bandwidth: all threads read a buffer in huge pages, several times as large as the last-level
cache, from one end to the other.  Peaks: multiply-adds of one instruction set from registers to
registers, a multiply and an add being two operations.  Medians of repetitions, with their range.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import msgspec

from lichen.measure import child
from lichen.measure.machine import memory_bytes
from lichen.measure.reading import Reading

TIMEOUT_SECONDS = 120.0
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_REPEATS = 11


class Job(msgspec.Struct, frozen=True):
    """How the limits are to be taken."""

    threads: int
    isa: str
    repeats: int = _REPEATS


def measure_limits(
    *, threads: int, isa: str, quick: bool = False, update: child.Update | None = None
) -> dict[str, Reading]:
    """read_bandwidth (B/s), int8_peak and bf16_peak (op/s), taken in a child process.

    The limits of this many threads and of this instruction set.
    """
    job = Job(threads, isa, 3 if quick else _REPEATS)
    return child.ask(
        __name__,
        job,
        dict[str, Reading],
        doing="measuring this machine",
        timeout=TIMEOUT_SECONDS,
        update=update,
    )


def buffer_bytes() -> int:
    """512 MB or four times the last-level cache, but at most an eighth of the memory."""
    wanted = max(512 << 20, 4 * last_level_cache())
    memory = memory_bytes()
    return min(wanted, memory // 8) if memory else wanted


def last_level_cache(caches: Path = _CACHES) -> int:
    """Bytes of the largest cache; 0 where the system does not tell."""
    sizes = []
    for file in caches.glob("index*/size"):
        text = file.read_text(encoding="ascii").strip()
        factor = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
        digits = text.rstrip("KM")
        sizes.append(int(digits) * factor if digits.isdecimal() else 0)
    return max(sizes, default=0)


def _work(job: Job, update: child.Update) -> dict[str, Reading]:
    from lichen import _core

    pool, size = _core.ThreadPool(job.threads), buffer_bytes()
    found = {}
    told = f"{job.threads} threads, a buffer of {size >> 20} MiB"
    found["read_bandwidth"] = _spread(_core.read_rates(pool, size, job.repeats), "B/s", told)
    update(1, 3)
    for number, (name, dtype) in enumerate((("int8_peak", "i8"), ("bf16_peak", "bf16")), start=2):
        rates = _core.peak_rates(pool, job.isa, dtype, job.repeats)
        told = f"{job.threads} threads, multiply-adds of {job.isa} in registers"
        found[name] = _spread(rates, "op/s", told)
        update(number, 3)
    return found


def _spread(rates: list[float], unit: str, source: str) -> Reading:
    return Reading(
        value=median(rates),
        unit=unit,
        kind="measured",
        source=f"{source}; median and range of {len(rates)}",
        low=min(rates),
        high=max(rates),
    )


if __name__ == "__main__":
    child.serve(Job, _work)
