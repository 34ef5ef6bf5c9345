"""Landlock: which files may be opened, and no TCP, abstract sockets or signals outwards.

Linux Documentation/userspace-api/landlock.rst.  It guards against a hole in the other layers;
alone it would leave stat, chmod, utime, UDP and more open (the seccomp filter closes those).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterable

from . import libc
from .syscalls import required

_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
READ = _READ_FILE | _READ_DIR | _EXECUTE
# Every file right, by the ABI that brought it: 1 (13 rights), 2 refer, 3 truncate, 5 device ioctl.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_MAKE_SPECIAL = (1 << 6) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12)  # devices, sockets, links


def abi() -> int:
    """The ABI version that the kernel claims; 0 without Landlock."""
    try:
        return libc.syscall(
            "landlock", required("landlock_create_ruleset"), ctypes.c_void_p(None), 0, _VERSION
        )
    except OSError:
        return 0


def ruleset(readable: Iterable[str], writable: Iterable[str]) -> int:
    """A ruleset descriptor: ``readable`` folders may be read, ``writable`` ones filled too."""
    version = abi()
    if version < 1:
        raise OSError("the kernel has no Landlock")
    rights = sum(bits for since, bits in _FILE_RIGHTS.items() if version >= since)
    attributes = struct.pack("Q", rights)
    if version >= 4:
        attributes += struct.pack("Q", 0b11)  # TCP bind and connect: handled, never granted
    if version >= 6:
        attributes += struct.pack("Q", 0b11)  # scoped: abstract unix sockets, signals
    descriptor = libc.syscall(
        "landlock_create_ruleset",
        required("landlock_create_ruleset"),
        attributes,
        len(attributes),
        0,
    )
    for folder in readable:
        _grant(descriptor, folder, READ & rights)
    for folder in writable:
        _grant(descriptor, folder, rights & ~_MAKE_SPECIAL & ~_EXECUTE)
    return descriptor


def _grant(descriptor: int, folder: str, rights: int) -> None:
    handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, handle)
        number = required("landlock_add_rule")
        libc.syscall("landlock_add_rule", number, descriptor, _PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)


def restriction(descriptor: int) -> Callable[[], int]:
    """What puts the process that calls it under the ruleset, for good."""
    number = required("landlock_restrict_self")
    return libc.prepared("landlock_restrict_self", number, descriptor, 0)
