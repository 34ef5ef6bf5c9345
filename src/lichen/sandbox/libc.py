"""The few C library calls that Python does not offer, through ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38


def check(result: int, what: str) -> int:
    """The result, or OSError with errno when it is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(what: str, number: int, *arguments: object) -> int:
    """A raw system call; integers are passed as C long."""
    return prepared(what, number, *arguments)()


def prepared(what: str, number: int, *arguments: object) -> Callable[[], int]:
    """The same call, to be made later: after a fork, whatever memory is touched gets copied."""
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)]
    call = _libc.syscall
    return lambda: check(call(*passed), what)


def prctl(option: int, value: int = 0) -> int:
    """prctl(2) with one argument."""
    zero = ctypes.c_ulong(0)
    return check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def personality(flags: int) -> int:
    """personality(2); what it was before."""
    return check(_libc.personality(ctypes.c_ulong(flags)), "personality")


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(kind) if kind is not None else None,
        ctypes.c_ulong(flags),
        os.fsencode(data) if data is not None else None,
    )
    check(result, f"mount {target}")


def unmount(target: str, flags: int) -> None:
    """umount2(2)."""
    check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")
