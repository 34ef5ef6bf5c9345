"""What a warm process does all day: commands in, one job at a time, how it ended out.

``run`` (descriptors beside it) starts a job in a child of its own or gives it to the judge that
stays, ``cpu`` tells what it has used, ``stop`` ends it and everything that it started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from . import child, judge, portable, wire
from .containment import Containment
from .standing import JOBS, Standing, stand

_PAYLOAD, _CHANNEL, _VERDICT = 3, 4, 5
EXIT_BROKEN, EXIT_MEMORY = 70, 77
_GRACE_SECONDS = 1.0


def run_child(
    containment: Containment,
    output: int,
    descriptors: int,
    role: Callable[[], None],
    *,
    receives: bool = False,
) -> NoReturn:
    """In a forked child: contain, do the role, end.  Never returns, never runs atexit."""
    code = EXIT_BROKEN
    try:
        containment.enter(output, descriptors, receives=receives)
        role()
        code = 0
    except MemoryError:
        code = EXIT_MEMORY
    finally:
        os._exit(code)


def read_everything(descriptor: int) -> bytes:
    """The whole payload (its writer left the offset at the end)."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def play_program() -> None:
    """Descriptors: 3 payload, 4 channel."""
    child.run(read_everything(_PAYLOAD), _CHANNEL)


def play_tests() -> None:
    """Descriptors: 3 payload, 4 channel, 5 verdict."""
    wire.write_all(_VERDICT, judge.run(read_everything(_PAYLOAD), _CHANNEL))


def play_together() -> None:
    """Descriptors: 3 payload, 4 verdict."""
    wire.write_all(_PAYLOAD + 1, child.run_together(read_everything(_PAYLOAD)))


def judge_plain(payload: int, channel: int) -> bytes:
    """One job of the judge that stays."""
    return judge.run(read_everything(payload), channel)


ROLES = {"program": play_program, "tests": play_tests, "together": play_together}


class Server:
    """Serves the control socket: one job at a time, in a child of its own or the one that stays."""

    def __init__(self, control: socket.socket, containment: Containment) -> None:
        self._control = control
        self._containment = containment
        self._pid = 0
        self._output = -1
        self._standing: Standing | None = None

    def serve(self) -> None:
        """Until the supervisor goes away; then nothing is left running."""
        try:
            while True:
                message, descriptors = wire.receive_packet(self._control, 3)
                if "run" in message:
                    self._run(message["run"], descriptors)
                elif "cpu" in message:
                    wire.send_packet(self._control, {"cpu": self._cpu_seconds()})
                elif message.get("keep") and self._is_standing():
                    self._pid = 0
                    wire.send_packet(self._control, {})
                elif "stop" in message:
                    wire.send_packet(self._control, self._stop(message["stop"]))
                    self._containment.clean()
        except wire.ClosedError:
            self._stop(grace=False)

    def _run(self, role: str, descriptors: list[int]) -> None:
        # Nothing of the zygote's is below _OWN, so what was received is 3, 4, 5 as it should be.
        # Printing goes into a file bounded by RLIMIT_FSIZE that nobody reads.
        if role == "plain":
            self._hand_over(descriptors)
        else:
            self._output = portable.sink()
            self._pid = os.fork()
            if self._pid == 0:
                self._control.detach()
                run_child(self._containment, self._output, len(descriptors), ROLES[role])
        for descriptor in descriptors:
            os.close(descriptor)

    def _hand_over(self, descriptors: list[int]) -> None:
        """Give the job to the judge that stays, or to its successor when it has retired."""
        if self._standing is None or not self._standing.judge(descriptors):
            self._stop(grace=False)
            self._standing = Standing(portable.sink(), self._start_standing)
            self._standing.judge(descriptors)
        self._pid, self._output = self._standing.pid, self._standing.output

    def _start_standing(self, output: int, jobs: socket.socket) -> int:
        pid = os.fork()
        if pid == 0:
            self._control.detach()
            os.dup2(jobs.detach(), JOBS)
            role = partial(stand, socket.socket(fileno=JOBS), judge_plain)
            run_child(self._containment, output, 1, role, receives=True)
        return pid

    def _is_standing(self) -> bool:
        return self._standing is not None and self._pid == self._standing.pid

    def _cpu_seconds(self) -> float:
        """What the present job has used so far."""
        if not self._pid:
            return 0.0
        return portable.cpu_seconds(self._pid) - self._used_before()

    def _used_before(self) -> float:
        return self._standing.cpu_seconds if self._standing and self._is_standing() else 0.0

    def _stop(self, grace: bool) -> dict[str, Any]:
        """End the child and everything that it started; how it ended and what it used.

        With ``grace`` it is known to be ending by itself: its own end is awaited, briefly.  The
        judge that stays goes too; between jobs it is the only child there can be.
        """
        if not self._pid and self._standing is not None:
            self._pid, self._output = self._standing.pid, self._standing.output
        if not self._pid:
            return {}
        pid, status, usage = os.wait4(self._pid, os.WNOHANG)
        deadline = time.monotonic() + _GRACE_SECONDS
        while grace and not pid and (left := deadline - time.monotonic()) > 0:
            portable.await_child(left)
            pid, status, usage = os.wait4(self._pid, os.WNOHANG)
        ended = pid != 0
        if self._containment.own_processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # everything in this process namespace but us
        elif not ended:
            os.kill(self._pid, signal.SIGKILL)
        if not ended:
            _, status, usage = os.wait4(self._pid, 0)
        printed = os.fstat(self._output).st_size
        before = self._used_before()
        self._forget()
        reap_everything()
        return {
            "ended": ended,
            "status": status,
            "cpu_seconds": usage.ru_utime + usage.ru_stime - before,
            "memory_bytes": portable.peak_memory_bytes(usage.ru_maxrss),
            "output_bytes": printed,
        }

    def _forget(self) -> None:
        """Let go of the present child, and of the judge that stays: it has been killed too."""
        if self._standing is not None:
            if not (self._is_standing() or self._containment.own_processes):
                os.kill(self._standing.pid, signal.SIGKILL)
            self._standing.close()
        if not self._is_standing():
            os.close(self._output)
        self._pid, self._standing = 0, None


def reap_everything() -> None:
    """Wait for every child there is."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return
