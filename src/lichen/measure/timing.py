"""Times a model in this process; run as the child of `lichen.measure.probe`.

python -m lichen.measure.timing '{"model": "path", ...}'     # lines of JSON out
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Protocol

from lichen.completion import Completion, Request
from lichen.measure import child, workload
from lichen.measure.probe import Job
from lichen.measure.reading import Reading

_REPEATS = 3
#: A reading is repeated only while this many seconds have not passed: large models are slow.
_BUDGET_SECONDS = 2.5


class Model(Protocol):
    """What is measured: a loaded language model."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Answer all requests in one batch."""

    def clip(self, request: Request) -> Request:
        """The request with a prompt that leaves room for the answer."""


def measure(load: Callable[[], Model]) -> dict[str, Reading]:
    """All readings of a model that ``load`` brings into this process, which must be fresh."""
    start = time.perf_counter()
    model = load()
    load_time = time.perf_counter() - start
    _run(model, workload.short(1))  # first use touches weights and wakes threads
    readings = {
        "load_time": _measured(
            load_time, "s", "reading, packing and checking the weights; files in the disk cache"
        ),
        "first_token": _first_token(model),
        "prefill_speed": _prefill_speed(model),
        "decode_speed": _decode_speed(model),
        **_batch(model),
        "peak_memory": _measured(
            peak_memory_bytes(), "B", "largest resident memory of the process, after the batch"
        ),
    }
    return {name: reading for name, reading in readings.items() if reading is not None}


def peak_memory_bytes() -> int:
    """Largest resident memory of this process since it was started.

    Linux: VmHWM.  Not ru_maxrss there, which a child inherits from its parent through exec.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # macOS: bytes, others: KiB
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _first_token(model: Model) -> Reading | None:
    """Seconds from a prompt to the first token of its answer."""
    timed, lengths = [], []
    for request in _while_time(workload.first_token(_REPEATS)):
        seconds, [answer] = _run(model, [request])
        if answer.tokens:
            timed.append(seconds)
            lengths.append(answer.prompt_tokens)
    return _spread(timed, "s", f"prompt of {_typical(lengths)} tokens of code, one at a time")


def _prefill_speed(model: Model) -> Reading | None:
    rates, lengths = [], []
    for request in _while_time(workload.prefill(_REPEATS)):
        seconds, [answer] = _run(model, [request])
        rates.append(answer.prompt_tokens / seconds)
        lengths.append(answer.prompt_tokens)
    return _spread(rates, "tok/s", f"prompts of {_typical(lengths)} tokens, one at a time")


def _decode_speed(model: Model) -> Reading | None:
    """Tokens a second of one answer, prompt excluded: a long answer minus a one-token answer."""
    rates = []
    for long in _while_time(workload.decode(_REPEATS, 23)):
        brief = replace(long, max_tokens=1)
        first, [one] = _run(model, [brief])
        seconds, [answer] = _run(model, [long])
        if answer.tokens > one.tokens and seconds > first:
            rates.append((answer.tokens - one.tokens) / (seconds - first))
    return _spread(rates, "tok/s", "one answer at a time, greedy, reading the prompt excluded")


def _batch(model: Model) -> dict[str, Reading]:
    """Speed and CPU time of many answers at once, their prompts included."""
    requests = workload.batch()
    cpu = time.process_time()  # all threads of the process, native ones too
    seconds, answers = _run(model, requests)
    cpu = time.process_time() - cpu
    tokens = sum(answer.tokens for answer in answers)
    if tokens == 0:
        return {}
    told = f"{len(requests)} answers at once, {tokens} tokens, prompts included"
    return {
        "batch_speed": _measured(tokens / seconds, "tok/s", told),
        "cpu_per_token": _measured(cpu / tokens, "s", f"CPU time of all threads, {told}"),
    }


def _while_time(requests: Sequence[Request]) -> Iterator[Request]:
    """The first request, and more while there is time."""
    start = time.perf_counter()
    for number, request in enumerate(requests):
        if number and time.perf_counter() - start > _BUDGET_SECONDS:
            return
        yield request


def _run(model: Model, requests: Sequence[Request]) -> tuple[float, list[Completion]]:
    fitting = [model.clip(request) for request in requests]
    start = time.perf_counter()
    answers = [answer for _, answer in model.generate(fitting)]
    return time.perf_counter() - start, answers


def _typical(lengths: Sequence[int]) -> int:
    return round(median(lengths)) if lengths else 0


def _measured(value: float, unit: str, source: str) -> Reading:
    return Reading(value=value, unit=unit, kind="measured", source=source)


def _spread(values: Sequence[float], unit: str, source: str) -> Reading | None:
    """The median of repeats with their range; None if nothing could be timed."""
    if not values:
        return None
    return Reading(
        value=median(values),
        unit=unit,
        kind="measured",
        source=f"{source}; median and range of {len(values)}",
        low=min(values),
        high=max(values),
    )


def _work(job: Job, _: child.Update) -> dict[str, Reading]:
    module, function = job.loader.split(":")
    load = getattr(importlib.import_module(module), function)
    cache = {} if job.cache_bytes is None else {"cache_bytes": job.cache_bytes}
    return measure(
        lambda: load(
            Path(job.model),
            threads=job.threads,
            isa=job.isa,
            dtype=job.dtype,
            kv_cache=job.kv_cache,
            speculate=False,  # the speed of steps, not of a text that repeats itself
            **cache,
        )
    )


if __name__ == "__main__":
    child.serve(Job, _work)
