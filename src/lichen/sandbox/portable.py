"""What the processes of the sandbox do differently on macOS.  Not run on a Mac yet."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

LINUX = sys.platform.startswith("linux")
_PACKET_ROOM = 1 << 18
_QUERY, _ADDR_NO_RANDOMIZE = 0xFFFFFFFF, 0x0040000


def anonymous_file(name: str) -> int:
    """A descriptor of an empty file that no folder holds."""
    if LINUX:
        return os.memfd_create(name)
    import tempfile  # with all that it imports it would weigh on every fork of the zygote

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextlib.contextmanager
def fixed_addresses() -> Iterator[None]:
    """What this thread starts meanwhile has the same addresses every time.

    Sets of None, types or functions are ordered by them.  A program gains nothing: it may read
    its own addresses anyway.
    """
    before = _personality(_QUERY)
    if before is not None:
        _personality(before | _ADDR_NO_RANDOMIZE)
    try:
        yield
    finally:
        if before is not None:
            _personality(before)


def _personality(flags: int) -> int | None:
    """What it was before; None where it cannot be told or may not be changed."""
    if not LINUX:
        return None
    from . import libc

    try:
        return libc.personality(flags)
    except OSError:  # a container may refuse
        return None


def sink() -> int:
    """Where programs print: a file that nobody reads, or, where none can be made, nowhere."""
    return os.memfd_create("output") if LINUX else os.open(os.devnull, os.O_RDWR)


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart and tell when the other one is gone."""
    if LINUX:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PACKET_ROOM)
    return pair


def await_child(seconds: float) -> None:
    """Wait until some child ends (SIGCHLD is blocked), or until then."""
    if LINUX:
        signal.sigtimedwait([signal.SIGCHLD], seconds)
    else:
        time.sleep(min(seconds, 0.005))


def cpu_seconds(pid: int) -> float:
    """CPU time of another process so far: its CPU clock, clock_getcpuclockid(3).

    macOS has no such clock: there a process counts as busy, and only the wall limit ends a sleeper.
    """
    if not LINUX:
        return time.monotonic()
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def peak_memory_bytes(ru_maxrss: int) -> int:
    """Linux counts in KiB, macOS in bytes."""
    return ru_maxrss * 1024 if LINUX else ru_maxrss


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if LINUX else os.cpu_count() or 1
