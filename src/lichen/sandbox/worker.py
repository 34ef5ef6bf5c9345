"""One worker: a zygote for programs and a zygote for their tests, one job at a time."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import portable, wire
from .api import Job, Limits
from .launcher import DeadZygoteError, Zygote
from .plain import is_plain
from .starvation import waited_seconds

_REPLY_SECONDS = 20.0
# A module of this name in what tests may read is imported once, before any job.
_OF_TESTS = "sandbox_preload"


class Wait(NamedTuple):
    """What a job's coroutine waits for: a readable descriptor, or a moment (monotonic)."""

    descriptor: int
    deadline: float


@dataclass(frozen=True)
class Ending:
    """How a child ended (by itself or not, its wait status) and what it used."""

    ended: bool = False
    status: int = 0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    output_bytes: int = 0


class Worker:
    """Programs and tests have a zygote each, so that neither ever shares memory with the other.

    Tests may be given more to read.  A program that shares their process then runs where they do.
    """

    def __init__(self, config: dict[str, Any], readable_by_tests: Sequence[str] = ()) -> None:
        """Start both; `wait_ready` must follow."""
        self._more = bool(readable_by_tests)
        tests = {**config, "readable": (*readable_by_tests, *config["readable"])}
        self._program = Zygote(config)
        self._swapped = False
        try:
            self._tests = Zygote({**tests, "preload": _OF_TESTS} if self._more else tests)
        except BaseException:
            self._program.close()
            raise

    def wait_ready(self) -> None:
        """Wait until both serve; `MissingLayerError` or `DeadZygoteError` when one cannot."""
        self._program.wait_ready()
        self._tests.wait_ready()

    def hang_up(self) -> None:
        """Tell both to end, without waiting."""
        self._program.hang_up()
        self._tests.hang_up()

    def close(self) -> None:
        """End both, and whatever they run; returns when they are gone."""
        self.hang_up()
        self._program.close()
        self._tests.close()

    def launch(self, job: Job, limits: Limits, *, split: bool) -> int:
        """Start the job; the descriptor on which its verdict will arrive (the caller closes it)."""
        self._swapped = self._more and not split
        verdict, write_end = os.pipe()
        with ExitStack() as stack:
            stack.callback(os.close, write_end)
            on_failure = stack.enter_context(ExitStack())
            on_failure.callback(os.close, verdict)
            tests = {"entry_point": job.entry_point, "preamble": job.preamble, "test": job.test}
            if split:
                ours, theirs = socket.socketpair()
                stack.enter_context(ours)
                stack.enter_context(theirs)
                program = {"entry_point": job.entry_point, "program": job.program}
                program_file = _payload(program, stack)
                tests_file = _payload({**tests, "value_bytes": limits.value_bytes}, stack)
                self._program.send({"run": "program"}, [program_file, ours.fileno()])
                plain = portable.LINUX and is_plain(job.entry_point, job.preamble, job.test)
                role = "plain" if plain else "tests"
                self._tests.send({"run": role}, [tests_file, theirs.fileno(), write_end])
            else:
                together = _payload({**tests, "program": job.program}, stack)
                self._roles()[0].send({"run": "together"}, [together, write_end])
            on_failure.pop_all()
        return verdict

    def cpu_seconds(self) -> list[float]:
        """CPU time that each process of the present job has used so far."""
        both = (self._program, self._tests)
        for zygote in both:
            zygote.send({"cpu": True})
        return [float(zygote.receive()["cpu"]) for zygote in both]

    def waited_seconds(self) -> float:
        """Time that the present job has waited for a core so far."""
        return sum(waited_seconds(zygote.pid) for zygote in (self._program, self._tests))

    def stop(
        self, *, await_program: bool, await_tests: bool, keep_judge: bool = False
    ) -> Generator[Wait, bool, tuple[Ending, Ending]]:
        """End the job; how the program's process and the tests' process ended.

        One that is known to be ending by itself is awaited briefly instead of killed.
        ``keep_judge``: a judge that stays did well, and may.
        """
        for_program, for_tests = self._roles()
        for_program.send({"stop": await_program})
        for_tests.send({"stop": await_tests, "keep": keep_judge})
        program = yield from _reply(for_program)
        tests = yield from _reply(for_tests)
        return Ending(**program), Ending(**tests)

    def rest(self) -> None:
        """Between runs only the zygotes are left: end the judge that stays."""
        self._tests.send({"stop": False})
        self._tests.receive()

    def _roles(self) -> tuple[Zygote, Zygote]:
        """The zygotes of the present job's program and of its tests."""
        pair = self._program, self._tests
        return (pair[1], pair[0]) if self._swapped else pair


def _payload(fields: Mapping[str, object], stack: ExitStack) -> int:
    """An anonymous file with these fields, closed with ``stack``; read only after the fork."""
    descriptor = portable.anonymous_file("payload")
    stack.callback(os.close, descriptor)
    wire.write_all(descriptor, json.dumps(fields).encode())
    return descriptor


def _reply(zygote: Zygote) -> Generator[Wait, bool, dict[str, Any]]:
    ready = yield Wait(zygote.control.fileno(), time.monotonic() + _REPLY_SECONDS)
    if not ready:
        raise DeadZygoteError
    return zygote.receive()
