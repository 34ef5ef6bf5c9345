"""What the processes of the sandbox do differently on macOS.  Not run on a Mac yet."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

LINUX = sys.platform.startswith("linux")
_PACKET_ROOM = 1 << 18


def anonymous_file(name: str) -> int:
    """A descriptor of an empty file that no folder holds."""
    if LINUX:
        return os.memfd_create(name)
    import tempfile  # with all that it imports it would weigh on every fork of the zygote

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


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
