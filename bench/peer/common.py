"""What every worker of bench/peers.py measures, whichever engine it wraps.

A worker lives in its engine's own environment, so this file needs nothing but the standard library.
Its argument is one JSON document, its last line on stdout another:

    {"model": PATH, "threads": 2, "vocabulary": 150000, "prompts": [256, 1024], "tokens": 48,
     "batch": 32, "batch_prompt": 16, "batch_tokens": 24, ...}
    {"version": "...", "load_s": 1.2, "prefill_256": 800.0, ..., "decode": 40.0, "batch_32": 300.0,
     "peak_rss_bytes": 1000000000, "reasons": {"batch_32": "why there is none"}}

Prompts are random token ids, the same for every engine; answers are greedy and do not end early.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

Prompts = list[list[int]]


class Peer(Protocol):
    """An engine with a model loaded."""

    version: str

    def prefill(self, prompt: list[int]) -> float:
        """Seconds until the first token after a prompt is known."""

    def decode(self, prompts: Prompts, tokens: int) -> float:
        """Tokens a second of all answers, the first token of each left out."""


def work(load: Callable[[dict[str, Any]], Peer]) -> None:
    """Load, measure, print."""
    job = json.loads(sys.argv[1])
    begin = time.perf_counter()
    peer = load(job)
    found: dict[str, Any] = {"version": peer.version, "load_s": time.perf_counter() - begin}
    ids = _Ids(job["vocabulary"])
    peer.prefill(ids.prompt(128))  # first use touches weights, wakes threads, compiles
    reasons = {}
    for name, measure in _measures(job, peer, ids).items():
        try:
            found[name] = measure()
        except Exception as error:  # one figure less: the others still count
            found[name] = None
            reasons[name] = str(error).strip().splitlines()[-1][:200] if str(error) else repr(error)
    found |= {"peak_rss_bytes": _peak_rss(), "reasons": reasons}
    print("\n" + json.dumps(found), flush=True)


class _Ids:
    """Random token ids."""

    def __init__(self, vocabulary: int) -> None:
        self._random = random.Random(0)
        self._vocabulary = vocabulary

    def prompt(self, count: int) -> list[int]:
        return [self._random.randrange(self._vocabulary) for _ in range(count)]


def _measures(job: dict[str, Any], peer: Peer, ids: _Ids) -> dict[str, Callable[[], float]]:
    """Rates by name, all in tokens a second, each taken once: rounds are the repetitions."""

    def prefill(count: int) -> float:
        return count / peer.prefill(ids.prompt(count))

    def batch() -> float:
        prompts = [ids.prompt(job["batch_prompt"]) for _ in range(job["batch"])]
        return peer.decode(prompts, job["batch_tokens"])

    return {
        **{f"prefill_{count}": lambda count=count: prefill(count) for count in job["prompts"]},
        "decode": lambda: peer.decode([ids.prompt(job["batch_prompt"])], job["tokens"]),
        f"batch_{job['batch']}": batch,
    }


def _peak_rss() -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
