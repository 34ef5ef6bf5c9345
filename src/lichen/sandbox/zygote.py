"""The warm process that forks once per program; process 1 of its namespaces where it has them.

It is started by `launcher` with a control socket, sets up what all children share, tries the
whole setup in a throwaway child, and then serves commands: ``run`` (descriptors beside it),
``cpu``, ``stop``.  It reads no byte of a program or of its tests: children do, after the fork
and behind all layers.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from . import child, judge, libc, namespaces, wire
from .containment import Config, Containment, LayerError, layer, out_of_the_way, try_layers

# Loaded once here instead of in every program; chosen by what tasks and models import.
PRELOADED = (
    "abc array ast bisect cmath collections collections.abc contextlib copy dataclasses datetime "
    "decimal enum fractions functools hashlib heapq io itertools json math numbers operator os "
    "random re statistics string struct sys threading time traceback types typing unicodedata "
    "warnings weakref"
)
# Where a child may be unable to open the standard library, it gets more of it beforehand.
PRELOADED_WITHOUT_FILES = (
    "base64 binascii calendar colorsys csv difflib doctest graphlib html inspect ipaddress keyword "
    "linecache locale logging pprint queue secrets shlex textwrap timeit tokenize unittest uuid "
    "zlib"
)
_PAYLOAD, _CHANNEL, _VERDICT = 3, 4, 5
EXIT_BROKEN, EXIT_MEMORY = 70, 77
_GRACE_SECONDS = 1.0


def run_child(
    containment: Containment, output: int, descriptors: int, role: Callable[[], None]
) -> NoReturn:
    """In a forked child: contain, do the role, end.  Never returns, never runs atexit."""
    code = EXIT_BROKEN
    try:
        containment.enter(output, descriptors)
        gc.enable()
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


ROLES = {"program": play_program, "tests": play_tests, "together": play_together}


class Server:
    """Serves the control socket: at most one child at a time."""

    def __init__(self, control: socket.socket, containment: Containment) -> None:
        self._control = control
        self._containment = containment
        self._pid = 0
        self._output = -1

    def serve(self) -> None:
        """Until the supervisor goes away; then nothing is left running."""
        try:
            while True:
                message, descriptors = wire.receive_packet(self._control, 3)
                if "run" in message:
                    self._run(ROLES[message["run"]], descriptors)
                elif "cpu" in message:
                    wire.send_packet(self._control, {"cpu": cpu_seconds(self._pid)})
                elif "stop" in message:
                    wire.send_packet(self._control, self._stop(message["stop"]))
                    self._containment.clean()
        except wire.ClosedError:
            self._stop(grace=False)

    def _run(self, role: Callable[[], None], descriptors: list[int]) -> None:
        # Nothing of the zygote's is below _OWN, so what was received is 3, 4, 5 as it should be.
        # Printing goes into a file bounded by RLIMIT_FSIZE that nobody reads.
        self._output = os.memfd_create("output")
        self._pid = os.fork()
        if self._pid == 0:
            self._control.detach()
            run_child(self._containment, self._output, len(descriptors), role)
        for descriptor in descriptors:
            os.close(descriptor)

    def _stop(self, grace: bool) -> dict[str, Any]:
        """End the child and everything that it started; how it ended and what it used.

        With ``grace`` it is known to be ending by itself: its own end is awaited, briefly.
        """
        if not self._pid:
            return {}
        pid, status, usage = os.wait4(self._pid, os.WNOHANG)
        deadline = time.monotonic() + _GRACE_SECONDS
        while grace and not pid and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait([signal.SIGCHLD], left)
            pid, status, usage = os.wait4(self._pid, os.WNOHANG)
        ended = pid != 0
        if self._containment.own_processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # everything in this process namespace but us
        elif not ended:
            os.kill(self._pid, signal.SIGKILL)
        if not ended:
            _, status, usage = os.wait4(self._pid, 0)
        reap_everything()
        printed = os.fstat(self._output).st_size
        os.close(self._output)
        self._pid = 0
        return {
            "ended": ended,
            "status": status,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "memory_bytes": usage.ru_maxrss * 1024,
            "output_bytes": printed,
        }


def reap_everything() -> None:
    """Wait for every child there is."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


def cpu_seconds(pid: int) -> float:
    """CPU time of another process so far: its CPU clock, clock_getcpuclockid(3)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def preload(names: str) -> None:
    """Import what programs commonly import, and keep the garbage collector off shared pages."""
    warnings.simplefilter("ignore")
    random.seed(0)
    for name in names.split():
        __import__(name)
    sys.path_importer_cache.clear()
    gc.collect()
    gc.disable()
    gc.freeze()


def become_first(control: socket.socket) -> None:
    """Fork into the new process namespace; the outer half only waits for the inner one."""
    pid = os.fork()
    if pid:
        control.close()
        os.waitpid(pid, 0)
        os._exit(0)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)


def main(descriptor: int) -> None:
    """Run as a zygote on the control socket ``descriptor``."""
    control = socket.socket(fileno=out_of_the_way(descriptor))
    message, _ = wire.receive_packet(control)
    config = Config(**{**message, "layers": frozenset(message["layers"])})
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    os.umask(0o022)
    own_root = "namespaces" in config.layers
    preload(PRELOADED if own_root else f"{PRELOADED} {PRELOADED_WITHOUT_FILES}")
    try:
        containment = Containment(config)
        if containment.own_processes:
            with layer("namespaces"):
                namespaces.unshare()
                become_first(control)
        containment.prepare()
        try_layers(config, containment)
    except LayerError as error:
        wire.send_packet(control, {"failed": error.layer, "reason": error.reason})
        return
    wire.send_packet(control, {"ready": True})
    Server(control, containment).serve()
