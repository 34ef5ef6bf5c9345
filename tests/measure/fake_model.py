"""A model that takes a known time for everything, loaded as the probe's child loads one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lichen.completion import Completion, Request
from lichen.errors import InputError

PREFILL_SECONDS = 50e-6  # for each character
DECODE_SECONDS = 2e-3  # for each step of a batch


class FakeModel:
    """Answers "x" for every token."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        time.sleep(PREFILL_SECONDS * sum(len(r.prompt) for r in requests))
        time.sleep(DECODE_SECONDS * max(r.max_tokens for r in requests))
        for number, r in enumerate(requests):
            yield (
                number,
                Completion("x" * r.max_tokens, "length", len(r.prompt) // 4, r.max_tokens),
            )

    def clip(self, request: Request) -> Request:
        return request


class SilentModel(FakeModel):
    """Ends every answer at once."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for number, _ in enumerate(requests):
            yield number, Completion("", "eos", 10, 0)


def load(
    path: Path,
    *,
    threads: int | None,
    isa: str | None,
    dtype: str,
    kv_cache: str,
    speculate: bool,
    cache_bytes: int | None = None,
) -> FakeModel:
    """What the last part of the path says happens."""
    match path.name:
        case "missing":
            raise InputError(f"{path}: there is no such model.")
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "large":
            block = bytearray(150_000_000)
            block[::4096] = b"x" * len(block[::4096])
        case "defect":
            raise ZeroDivisionError("the words of a defect")
        case "noisy":
            print("a library that prints on loading")
            print("and on the other stream", file=sys.stderr)
        case "arguments":
            raise InputError(f"{threads} {isa} {dtype} {kv_cache} {cache_bytes} {speculate}")
        case "slow":
            time.sleep(30)
    return FakeModel()
