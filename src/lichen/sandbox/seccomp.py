"""The seccomp filter: an allowlist of system calls, as classic BPF.

Anything not listed fails with EPERM (so that a program sees PermissionError and may go on); a
call through a foreign architecture's table kills.  No fork, exec, sockets, ptrace, keyctl,
io_uring, memfd, System V IPC, links, chmod, chown, utime or xattr.  Threads are allowed.
Source of the layout: Linux Documentation/userspace-api/seccomp_filter.rst, struct seccomp_data.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from . import libc
from .syscalls import AUDIT_ARCH, number, required

_SET_MODE_FILTER = 1
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_X32 = 0x40000000  # x86-64's second table, never used by anything wanted here


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Calls of a running interpreter that need no look at their arguments.
PLAIN = _names("""
    read write readv writev pread64 pwrite64 close close_range lseek fstat dup dup2 dup3 pipe pipe2
    poll ppoll select pselect6 getdents64
    mmap mprotect munmap mremap madvise brk
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend
    sigaltstack pause nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
    getitimer setitimer alarm getrusage getrlimit
    getpid getppid gettid getuid geteuid getgid getegid getgroups getresuid getresgid
    getpgrp getpgid getsid uname sysinfo umask
    futex set_robust_list set_tid_address rseq membarrier sched_yield sched_getaffinity getcpu
    getrandom exit exit_group restart_syscall
""")
# Looking at files by name; fstat is one of these calls with an empty name.
LOOK = _names("""
    stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd chdir
""")
# Opening in any way, and changing files by name.
CHANGE = _names("""
    open openat creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2
    truncate ftruncate fsync fdatasync
""")
# What a program may do with files: everything (in a root of its own), only read (Landlock says
# which; before its third ABI it lets O_TRUNC pass), or open nothing at all.
FileAccess = Literal["write", "read", "none"]
_NOT_READING = 0o3 | 0o100 | 0o1000 | 0o2000  # access mode, O_CREAT, O_TRUNC, O_APPEND

_THREAD = 0x00010000  # CLONE_THREAD
# CLONE_PTRACE, VFORK, PARENT and every CLONE_NEW*: nothing that a thread needs.
_THREAD_FORBIDDEN = 0x2000 | 0x4000 | 0x8000 | 0x20000 | 0x7E000000 | 0x80
_IOCTLS = (0x5401, 0x541B, 0x5451, 0x5450)  # TCGETS, FIONREAD, FIOCLEX, FIONCLEX
# F_DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK, SETLKW, F_DUPFD_CLOEXEC
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 1030)


@dataclass(frozen=True)
class Check:
    """Allow a call when ``argument & mask`` (low 32 bits) is one of ``values``."""

    call: str
    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


def checks(pid: int, files: FileAccess, *, receives: bool = False) -> list[Check]:
    """The calls that are allowed with certain arguments only, for the process ``pid``.

    ``receives``: it may receive on descriptor 3 (the judge that stays, which runs no program).
    """
    reading = [
        Check("open", 1, (0,), mask=_NOT_READING),
        Check("openat", 2, (0,), mask=_NOT_READING),
    ]
    return [
        *(reading if files == "read" else []),
        *([Check("recvmsg", 0, (3,))] if receives else []),
        Check("kill", 0, (pid,)),
        Check("tgkill", 0, (pid,)),
        Check("prlimit64", 0, (0,)),
        Check("ioctl", 1, _IOCTLS),
        Check("fcntl", 1, _FCNTLS),
        Check("clone", 0, (_THREAD,), mask=_THREAD | _THREAD_FORBIDDEN),
    ]


def _instruction(code: int, constant: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, constant)


def _allow_if(check: Check) -> list[bytes]:
    """Allow or refuse by one argument."""
    last = len(check.values) - 1
    return [
        _instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * check.argument),
        _instruction(_AND, check.mask),
        *(
            _instruction(_JUMP_EQUAL, value, jump_true=last - i + 1)
            for i, value in enumerate(check.values)
        ),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _search(segments: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """Binary search for the call's number: the code of the last segment that starts at or below.

    A balanced tree, because the kernel walks the filter for every number when it is installed.
    """
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    below, above = _search(segments[:middle]), _search(segments[middle:])
    return [_instruction(_JUMP_AT_LEAST, segments[middle][0], jump_true=len(below)), *below, *above]


def program(pid: int, *, files: FileAccess, architecture: str, receives: bool = False) -> bytes:
    """The filter for one process, as an array of struct sock_filter."""
    refuse, allow = [_instruction(_RETURN, _ERRNO | errno.EPERM)], [_instruction(_RETURN, _ALLOW)]
    free = PLAIN + LOOK + (CHANGE if files == "write" else ())
    decisions = dict.fromkeys(free, allow)
    decisions |= {check.call: _allow_if(check) for check in checks(pid, files, receives=receives)}
    # glibc falls back to clone, whose flags can be checked, when clone3 does not exist.
    decisions["clone3"] = [_instruction(_RETURN, _ERRNO | errno.ENOSYS)]
    known = {number(name, architecture): code for name, code in decisions.items()}
    numbers = sorted(call for call in known if call is not None)
    segments: list[tuple[int, list[bytes]]] = []
    for call in range(max(numbers) + 2):
        code = known.get(call, refuse)
        if not segments or segments[-1][1] is not code:
            segments.append((call, code))
    body = _search(segments)
    if architecture == "x86_64":
        x32 = [_instruction(_JUMP_AT_LEAST, _X32, jump_false=1), _instruction(_RETURN, _KILL)]
        body = x32 + body
    head = [
        _instruction(_LOAD, _ARCH_OFFSET),
        _instruction(_JUMP_EQUAL, AUDIT_ARCH[architecture], jump_true=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_OFFSET),
    ]
    return b"".join(head + body)


_PID = b"lich"  # stands for the process's own id in a prepared filter; occurs nowhere else


def prepare(*, files: FileAccess, architecture: str, receives: bool = False) -> bytes:
    """The filter for a process that does not exist yet: `restriction` puts its id in."""
    pid = int.from_bytes(_PID, sys.byteorder)
    return program(pid, files=files, architecture=architecture, receives=receives)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def restriction(prepared: bytes) -> Callable[[], None]:
    """What puts the process that calls it under the filter, for good (needs no_new_privs)."""
    own = ctypes.create_string_buffer(prepared, len(prepared))
    places = [at for at in range(0, len(prepared), 4) if prepared.startswith(_PID, at)]
    fprog = _Program(len(prepared) // 8, ctypes.addressof(own))
    flags = 0
    number = required("seccomp")
    install = libc.prepared("seccomp", number, _SET_MODE_FILTER, flags, ctypes.byref(fprog))
    write = struct.Struct("=I").pack_into

    def restrict() -> None:
        pid = os.getpid()
        for place in places:
            write(own, place, pid)
        install()

    return restrict
