"""Own namespaces (user, process, network, mount, IPC, UTS), and a root of the stdlib alone.

No privilege and no helper program is needed where the kernel lets users make namespaces.
Sources: user_namespaces(7), mount_namespaces(7), pivot_root(2).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from . import libc
from .limits import NOBODY
from .syscalls import required

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER = 0x00020000, 0x04000000, 0x08000000, 0x10000000
_NEWPID, _NEWNET = 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _NOATIME, _NODIRATIME, _BIND, _REC = 32, 1024, 2048, 4096, 16384
_PRIVATE, _RELATIME = 1 << 18, 1 << 21
_DETACH = 2
# statvfs flags have the values of the mount flags, but for this one.
_STATVFS_RELATIME = 4096
# Any folder that every system has and no interpreter lives under.
_BASE = "/proc"
SCRATCH = "/tmp"  # noqa: S108 (inside, a file system of the job's own)
_FILES = 256
HOST = "sandbox"  # the machine's name inside


def unshare() -> None:
    """Enter new namespaces; the next fork is process 1 of the new process namespace.

    As root the inside has root (who may still read the interpreter in a private home) and
    nobody (whom programs run as); an ordinary user is nobody inside, and alone.
    """
    user, group = os.geteuid(), os.getegid()
    go_read, go_write = os.pipe()
    # The maps are written from outside: only there does root have the right to map two users.
    helper = os.fork()
    if helper == 0:
        os.close(go_write)
        os._exit(_write_maps(go_read, os.getppid(), user, group))
    os.close(go_read)
    try:
        libc.unshare(_NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS)
        os.write(go_write, b"+")
    finally:
        os.close(go_write)
        _, status = os.waitpid(helper, 0)
    if status:
        raise OSError(os.waitstatus_to_exitcode(status), "the user map could not be written")
    socket.sethostname(HOST)


def _write_maps(go: int, pid: int, user: int, group: int) -> int:
    """In the helper: wait for the word, then map; 0 or an errno."""
    if not os.read(go, 1):
        return 0
    try:
        if user == 0:
            try:
                _write(pid, "uid_map", f"0 0 1\n{NOBODY} {NOBODY} 1\n")
                _write(pid, "gid_map", f"0 0 1\n{NOBODY} {NOBODY} 1\n")
                return 0
            except OSError:  # root of a container that has no second user to give
                pass
        _write(pid, "setgroups", "deny")
        _write(pid, "uid_map", f"{NOBODY} {user} 1\n")
        _write(pid, "gid_map", f"{NOBODY} {group} 1\n")
    except OSError as error:
        return error.errno or 1
    return 0


def _write(pid: int, name: str, text: str) -> None:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def enter_root(libraries: Sequence[str], scratch_bytes: int) -> None:
    """In process 1: a root with ``libraries`` read-only and an empty /tmp, and nothing else."""
    libc.mount("none", "/", None, _REC | _PRIVATE)
    libc.mount("sandbox", _BASE, "tmpfs", _NOSUID | _NODEV, "size=1m,nr_inodes=1k,mode=755")
    for folder in libraries:
        _bind_read_only(folder, _BASE + inside(folder))
        for packages in (f"{folder}/site-packages", f"{folder}/dist-packages"):
            if os.path.isdir(packages) and packages not in sys.path:
                target = _BASE + packages
                libc.mount("none", target, "tmpfs", _RDONLY | _NOSUID | _NODEV, "size=4k")
    os.makedirs(_BASE + SCRATCH, exist_ok=True)
    old = _BASE + "/old"
    os.mkdir(old)
    libc.syscall("pivot_root", required("pivot_root"), os.fsencode(_BASE), os.fsencode(old))
    os.chdir("/")
    libc.unmount("/old", _DETACH)
    os.rmdir("/old")
    libc.mount("none", "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    mount_scratch(scratch_bytes)


def inside(folder: str) -> str:
    """Where a readable folder lies in the new root: in its own place, unless /tmp hides that."""
    return f"/readable{folder}" if f"{folder}/".startswith(f"{SCRATCH}/") else folder


def _bind_read_only(source: str, target: str) -> None:
    os.makedirs(target, exist_ok=True)
    libc.mount(source, target, None, _BIND)
    # A user namespace may add restrictions to a mount that it inherits, never take one off.
    inherited = os.statvfs(source).f_flag
    keep = inherited & (_NOEXEC | _NOATIME | _NODIRATIME)
    if inherited & _STATVFS_RELATIME:
        keep |= _RELATIME
    libc.mount("none", target, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | keep)


def mount_scratch(scratch_bytes: int) -> None:
    """An empty /tmp of bounded size."""
    options = f"size={scratch_bytes},nr_inodes={_FILES},mode=1777"
    libc.mount("scratch", SCRATCH, "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)


def unmount_scratch() -> None:
    """Drop /tmp with everything in it."""
    libc.unmount(SCRATCH, _DETACH)


def scratch_state() -> tuple[int, int, int]:
    """Changes whenever something in /tmp was made, written or removed."""
    space = os.statvfs(SCRATCH)
    return space.f_bfree, space.f_ffree, os.stat(SCRATCH).st_ctime_ns
