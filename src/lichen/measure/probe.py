"""Measures a model in a fresh child process, so that memory and load time are its own.

Time in a process that has already run another model would be flattered by its warm caches, and
its peak memory would be the larger model's.  The child is `lichen.measure.timing`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from lichen.errors import InputError, ResourceError
from lichen.measure.reading import Reading

#: The module that runs as the child: a `Job` as its argument, an `Answer` as its last line.
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


class Failure(msgspec.Struct, frozen=True):
    """Why the child could not."""

    message: str
    exit_code: int


class Answer(msgspec.Struct, frozen=True):
    """The child's one line."""

    readings: dict[str, Reading] = {}
    failure: Failure | None = None


def measure_model(
    model: Path,
    *,
    threads: int | None = None,
    isa: str | None = None,
    dtype: str = "auto",
    timeout: float = TIMEOUT_SECONDS,
) -> dict[str, Reading]:
    """Load and run a model in a child process; readings by name.

    load_time, peak_memory, first_token, decode_speed, prefill_speed, batch_speed and
    cpu_per_token (CPU seconds per token on a batch, from which energy is modelled).

    Raises InputError for a model that cannot be loaded, ResourceError when the child dies.
    """
    job = Job(str(model.absolute()), LOADER, threads, isa, dtype)
    # -P: a folder called "lichen" where the user happens to stand must not be imported.
    command = [sys.executable, "-P", "-m", CHILD, msgspec.json.encode(job).decode()]
    reading, writing = os.pipe()  # ends with this process, however it ends, and the child with it
    try:
        done = subprocess.run(
            command, stdin=reading, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ResourceError(
            f"measuring {model} took more than {timeout:.0f} s; given up."
        ) from None
    finally:
        os.close(reading)
        os.close(writing)
    lines = done.stdout.splitlines()
    try:
        answer = msgspec.json.decode(lines[-1] if lines else b"", type=Answer)
    except msgspec.DecodeError:
        raise ResourceError(f"measuring {model} failed: {_last_words(done)}") from None
    if answer.failure is not None:
        kind = InputError if answer.failure.exit_code == InputError.exit_code else ResourceError
        raise kind(answer.failure.message)
    return answer.readings


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
    return f"the child process ended with {ended}" + (f": {lines[-1]}" if lines else ".")
