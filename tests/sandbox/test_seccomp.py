"""The filter, run by a small interpreter of classic BPF: both architectures, no kernel needed."""

from __future__ import annotations

import struct

import pytest

from lichen.sandbox import seccomp
from lichen.sandbox.syscalls import AUDIT_ARCH, NUMBERS, number

PID = 4242
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
MACHINES = sorted(AUDIT_ARCH)
FORBIDDEN = {
    # name: (x86-64, aarch64); the numbers are those of the tables named in syscalls.py
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "connect": (42, 203), "sendmsg": (46, 211), "socketpair": (53, 199),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "mount": (165, 40), "unshare": (272, 97),
    "setns": (308, 268), "keyctl": (250, 219), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "chmod": (90, None),
    "fchmodat": (268, 53), "setuid": (105, 146), "setxattr": (188, 5), "utimensat": (280, 88),
    "prctl": (157, 167), "personality": (135, 92), "userfaultfd": (323, 282), "tkill": (200, 130),
    "pidfd_open": (434, 434), "symlinkat": (266, 36), "linkat": (265, 37), "mknodat": (259, 33),
    "perf_event_open": (298, 241), "chroot": (161, 51), "setpriority": (141, 140),
}  # fmt: skip


def decide(
    program: bytes,
    machine: str,
    call: int,
    arguments: tuple[int, ...] = (),
    arch: int | None = None,
) -> int:
    """What the filter returns for a call."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", call, arch or AUDIT_ARCH[machine], 0, *values)
    code = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        kind, jump_true, jump_false, k = code[position]
        position += 1
        if kind == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif kind == 0x54:
            accumulator &= k
        elif kind == 0x06:
            return int(k)
        else:
            taken = {0x15: accumulator == k, 0x35: accumulator >= k}[kind]
            position += jump_true if taken else jump_false


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("files", ["write", "read", "none"])
def test_every_number_is_decided_as_the_lists_say(machine: str, files: seccomp.FileAccess) -> None:
    program = seccomp.program(PID, files=files, architecture=machine)
    names = seccomp.PLAIN + seccomp.LOOK + (seccomp.CHANGE if files == "write" else ())
    allowed = {number(name, machine) for name in names}
    checked = {number(check.call, machine) for check in seccomp.checks(PID, files)}
    for call in range(600):
        if call in checked or call == number("clone3", machine):
            continue
        assert decide(program, machine, call) == (ALLOW if call in allowed else EPERM), call


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide(machine: str) -> None:
    program = seccomp.program(PID, files="read", architecture=machine)

    def call(name: str, *arguments: int) -> int:
        found = number(name, machine)
        assert found is not None
        return decide(program, machine, found, arguments)

    assert call("kill", PID, 9) == ALLOW
    assert call("kill", 1, 9) == call("kill", 0xFFFFFFFF, 9) == call("tgkill", PID + 1) == EPERM
    assert call("prlimit64", 0) == ALLOW
    assert call("prlimit64", PID + 1) == EPERM
    assert call("clone", 0x3D0F00) == ALLOW  # glibc's pthread_create
    assert call("clone", 17) == call("clone", 0x10000000 | 0x3D0F00) == EPERM
    assert call("clone3") == ENOSYS
    assert call("ioctl", 0, 0x5401) == ALLOW
    assert call("ioctl", 0, 0x5412) == EPERM  # TIOCSTI
    assert call("openat", 0, 0, 0o2000000) == ALLOW
    assert call("openat", 0, 0, 1) == call("openat", 0, 0, 0o1000) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_calls(machine: str, name: str) -> None:
    call = FORBIDDEN[name][0 if machine == "x86_64" else 1]
    if call is not None:
        program = seccomp.program(PID, files="write", architecture=machine)
        assert decide(program, machine, call, (17,)) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_foreign_tables_kill(machine: str) -> None:
    program = seccomp.program(PID, files="write", architecture=machine)
    assert decide(program, machine, 0, arch=0x40000003) == KILL  # i386
    if machine == "x86_64":
        assert decide(program, machine, 0x40000000) == KILL  # x32


@pytest.mark.parametrize("column", range(2), ids=["x86_64", "aarch64"])
def test_no_number_is_listed_twice(column: int) -> None:
    numbers = [pair[column] for pair in NUMBERS.values() if pair[column] is not None]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("machine", MACHINES)
def test_a_prepared_filter_has_one_place_for_the_pid_per_check(machine: str) -> None:
    prepared = seccomp.prepare(files="write", architecture=machine)
    assert prepared.replace(b"lich", struct.pack("=I", PID)) == seccomp.program(
        PID, files="write", architecture=machine
    )
    assert prepared.count(b"lich") == 2
