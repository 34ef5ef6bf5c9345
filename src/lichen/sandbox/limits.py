"""What a child gives up before it reads a program: resources, privileges, descriptors."""

from __future__ import annotations

import os
import resource
import signal
import struct

from . import libc
from .syscalls import required

NOBODY = 65534
THREADS = 32
DESCRIPTORS = 64
FIRST_RECEIVED = 3
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
_CAPSET = required("capset")


def limit_family(*, memory_bytes: int, file_bytes: int) -> None:
    """Limits that the zygote and every child share, none of which can be raised again."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, value in limits.items():
        _limit(kind, value)


def limit_child(*, cpu_seconds: int, processes: int) -> None:
    """A child's own limits.

    At its CPU limit it gets SIGXCPU, which says plainly why it ended; if it ignores that, SIGKILL
    a second later.
    """
    _limit(resource.RLIMIT_CPU, cpu_seconds, margin=1)
    _limit(resource.RLIMIT_NPROC, processes)


def _limit(kind: int, wanted: int, margin: int = 0) -> None:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY:
        hard = wanted + margin
    resource.setrlimit(kind, (min(wanted, hard), min(wanted + margin, hard)))


def forbid_new_privileges() -> None:
    """No exec can ever give anything back (in the zygote; inherited)."""
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            libc.prctl(libc.PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the last one that this kernel knows, or no right to drop
            return


def drop_privileges(user: int | None) -> None:
    """Become ``user`` (None: stay), without groups or capabilities."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)  # from root: clears every capability
    else:
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        libc.syscall("capset", _CAPSET, header, bytes(24))


def die_with_parent() -> None:
    """No orphan survives its zygote; a change of user clears this, so it comes after."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)


def arrange_descriptors(output: int, kept: int) -> None:
    """Print into ``output``; keep 0 and the ``kept`` descriptors from 3 on; close all others."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(FIRST_RECEIVED + kept, DESCRIPTORS)
