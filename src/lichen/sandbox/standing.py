"""A judge that stays: plain tests (see `plain`) need no process each, only one behind all layers.

A fork, what its memory costs and its end are half the price of a job.  This process never runs a
program: it gets the tests, and a channel to the program, through a socket from its zygote.  After
any verdict but passed or failed the supervisor has it killed; it retires by itself when it has
judged many or has grown, and closes its socket before the last verdict, so that none is lost.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Sequence

from . import portable, wire
from .containment import out_of_the_way

JOBS = 3  # the descriptor on which jobs arrive; each brings the same three beside it
_MOST_JOBS = 100
_CPU_SECONDS = 0.2  # the most that the limit of a later job can be short of
_GROWTH_BYTES = 32 << 20


def stand(jobs: socket.socket, judge: Callable[[int, int], bytes]) -> None:
    """In the process: ``judge(payload, channel)`` for each job, until there are no more."""
    most_memory = _peak_memory() + _GROWTH_BYTES
    for left in reversed(range(_MOST_JOBS)):
        try:
            _, (payload, channel, verdict) = wire.receive_packet(jobs, 3)
        except wire.ClosedError:
            return
        line = judge(payload, channel)
        if not left or time.process_time() > _CPU_SECONDS or _peak_memory() > most_memory:
            jobs.close()
        with contextlib.suppress(wire.ClosedError):
            wire.write_all(verdict, line)
        for descriptor in (payload, channel, verdict):
            os.close(descriptor)


def _peak_memory() -> int:
    return portable.peak_memory_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


class Standing:
    """The zygote's side of it."""

    def __init__(self, output: int, start: Callable[[int, socket.socket], int]) -> None:
        """``start`` forks a child that prints into ``output`` and stands on a socket; its id."""
        self.output = output
        self.cpu_seconds = 0.0  # used for earlier jobs
        ours, theirs = portable.control_pair()
        # Out of the numbers that a job's descriptors get.
        self._jobs = socket.socket(fileno=out_of_the_way(ours.detach()))
        with theirs:
            self.pid = start(output, theirs)

    def judge(self, descriptors: Sequence[int]) -> bool:
        """Give it a job; False when it has retired."""
        self.cpu_seconds = portable.cpu_seconds(self.pid)
        try:
            wire.send_packet(self._jobs, {"run": "plain"}, descriptors)
        except wire.ClosedError:
            return False
        return True

    def close(self) -> None:
        """After its end: nothing of it is held any longer."""
        self._jobs.close()
        os.close(self.output)
