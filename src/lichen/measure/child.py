"""Work in a fresh child process, so that its time and its memory are its own.

The parent asks, the child answers: a job of msgspec as the child's only argument; lines on its
stdout, of which those that begin with a mark are ours: progress, and at last a result or a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import msgspec

from lichen.errors import InputError, LichenError, ResourceError

#: Told how much of the work is done: (done, total).
Update = Callable[[int, int], None]
T = TypeVar("T")
_MARK = b"\x1e"


class Failure(msgspec.Struct, frozen=True):
    """Why the child could not."""

    message: str  # empty: there was not enough memory
    exit_code: int


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of: progress, a result, a failure."""

    progress: tuple[int, int] | None = None
    result: msgspec.Raw = msgspec.Raw()
    failure: Failure | None = None


def ask(
    module: str,
    job: msgspec.Struct,
    result: type[T],
    *,
    doing: str,
    timeout: float,
    update: Update | None = None,
) -> T:
    """Run ``module`` on ``job`` in a child and wait for its result.

    Raises the child's own InputError or ResourceError, and ResourceError when it dies or takes more
    than ``timeout`` seconds; ``doing`` is the subject of that sentence.
    """
    last = None
    with (
        tempfile.TemporaryFile() as errors,
        _running(module, job, errors, timeout) as (process, late),
    ):
        assert process.stdout is not None
        for line in _lines(process.stdout):
            if line.progress is None:
                last = line
            elif update is not None:
                update(*line.progress)
        code = process.wait()
        if last is None and late.is_set():
            raise ResourceError(f"{doing} took more than {timeout:.0f} s; given up.")
        if last is None:
            raise ResourceError(f"{doing} failed: {_last_words(code, errors)}")
    if last.failure is not None:
        kind = InputError if last.failure.exit_code == InputError.exit_code else ResourceError
        raise kind(last.failure.message or f"{doing} failed: there is not enough memory.")
    return msgspec.json.decode(last.result, type=result)


@contextmanager
def _running(
    module: str, job: msgspec.Struct, errors: IO[bytes], timeout: float
) -> Iterator[tuple[subprocess.Popen[bytes], threading.Event]]:
    """The child, and whether its time ran out; it ends with this block and with this process."""
    # -P: a folder called "lichen" where the user happens to stand must not be imported.
    command = [sys.executable, "-P", "-m", module, msgspec.json.encode(job).decode()]
    reading, writing = os.pipe()  # ends with this process, however it ends, and the child with it
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, give_up)
    timer.daemon = True  # or Ctrl-C while it starts would keep this process until the time is up
    try:
        process = subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, stderr=errors)
        with process:  # which waits for its end
            try:
                timer.start()
                yield process, late
            finally:
                timer.cancel()
                process.kill()
    finally:
        os.close(reading)
        os.close(writing)


def _lines(stdout: IO[bytes]) -> Iterator[_Line]:
    """The child's own lines, among what libraries may print."""
    for line in stdout:
        if line.startswith(_MARK):
            try:
                yield msgspec.json.decode(line[len(_MARK) :], type=_Line)
            except msgspec.DecodeError:  # cut off: the child died while it wrote
                return


def _last_words(code: int, errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    ended = f"signal {-code}" if code < 0 else f"code {code}"
    return f"the child process ended with {ended}" + (f": {lines[-1]}" if lines else ".")


def serve(job: type[T], work: Callable[[T, Update], Any]) -> None:
    """Be the child: do the job in ``sys.argv``; tell the progress, and the result or failure."""
    _die_with_parent()
    given = msgspec.json.decode(sys.argv[1], type=job)
    try:
        result = work(given, lambda done, total: _tell(_Line(progress=(done, total))))
        _tell(_Line(result=msgspec.Raw(msgspec.json.encode(result))))
    except LichenError as error:
        _tell(_Line(failure=Failure(str(error), error.exit_code)))
    except MemoryError:
        _tell(_Line(failure=Failure("", ResourceError.exit_code)))


def _tell(line: _Line) -> None:
    sys.stdout.buffer.write(b"\n" + _MARK + msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _die_with_parent() -> None:
    """End this process as soon as stdin does: its other end is open while the parent lives."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock, held at exit, would abort the interpreter
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
