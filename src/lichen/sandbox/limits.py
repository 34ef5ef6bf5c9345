"""What a child gives up before it reads a program: resources, privileges, descriptors."""

from __future__ import annotations

import os
import resource
import signal
import struct
from collections.abc import Callable
from functools import partial

from . import libc
from .portable import LINUX
from .syscalls import required

NOBODY = 65534
THREADS = 32
DESCRIPTORS = 64
FIRST_RECEIVED = 3
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
# What a child has to do, arguments and all: after a fork, whatever memory is touched gets copied.
Step = Callable[[], object]


def limit_family(*, memory_bytes: int, file_bytes: int) -> None:
    """Limits that the zygote and every child share, none of which can be raised again."""
    limits = {
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if LINUX:  # macOS has neither
        limits |= {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_MSGQUEUE: 0}
    for kind, value in limits.items():
        _limit(kind, value)()


def child_limits(cpu_seconds: int, processes: int) -> list[Step]:
    """What sets a child's own limits.

    At its CPU limit it gets SIGXCPU, which says plainly why it ended; if it ignores that, SIGKILL
    a second later.
    """
    return [
        _limit(resource.RLIMIT_CPU, cpu_seconds, margin=1),
        _limit(resource.RLIMIT_NPROC, processes),
    ]


def tasks_of(user: int) -> int:
    """How many threads the user runs on this machine now."""
    if not LINUX:
        return 0
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == user:
                count += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:  # it has ended
            continue
    return count


def _limit(kind: int, wanted: int, margin: int = 0) -> Step:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY:
        hard = wanted + margin
    return partial(resource.setrlimit, kind, (min(wanted, hard), min(wanted + margin, hard)))


def forbid_new_privileges() -> None:
    """No exec can ever give anything back (in the zygote; inherited)."""
    if not LINUX:
        return
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            libc.prctl(libc.PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the last one that this kernel knows, or no right to drop
            return


def privileges_dropped(user: int | None) -> list[Step]:
    """What makes a child ``user`` (None: stay), without groups or capabilities."""
    if not LINUX:
        return [] if user is None else [partial(os.setgid, user), partial(os.setuid, user)]
    if user is None:
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        return [libc.prepared("capset", required("capset"), header, bytes(24))]
    return [
        partial(os.setgroups, []),
        partial(os.setresgid, user, user, user),
        partial(os.setresuid, user, user, user),  # from root: clears every capability
    ]


def die_with_parent() -> None:
    """No orphan survives its zygote; a change of user clears this, so it comes after."""
    if not LINUX:
        return
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)


def arrange_descriptors(output: int, kept: int) -> None:
    """Print into ``output``; keep 0 and the ``kept`` descriptors from 3 on; close all others."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(FIRST_RECEIVED + kept, DESCRIPTORS)
