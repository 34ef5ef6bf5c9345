"""Many programs of every kind, and what they may leave behind: nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from lichen.sandbox import Job, Limits, Sandbox

LIMITS = Limits(
    cpu_seconds=1.0,
    idle_seconds=0.3,
    memory_bytes=256 << 20,
    output_bytes=64 << 10,
    file_bytes=4 << 20,
)
TEST = "assert f(7) == 8"
NAME = f"soak-{os.getpid()}"  # in the name of every file that a program makes
RIGHT = "\ndef f(x): return x + 1"
# name: (how many in two hundred, program, verdict where namespaces and seccomp hold)
MIX = {
    "honest": (96, RIGHT, "passed"),
    "wrong": (20, "def f(x): return x", "failed"),
    "raises": (10, "def f(x): return 1 / 0", "error"),
    "writes-tmp": (20, f"open('/tmp/{NAME}', 'w').write('x' * 9000)" + RIGHT, "passed"),
    "fills-tmp": (
        4,
        f"try:\n  for n in range(999): open(f'/tmp/{NAME}-{{n}}', 'w').write('x' * 60000)\n"
        f"except OSError: pass{RIGHT}",
        "passed",
    ),
    "writes-shm": (8, f"open('/dev/shm/{NAME}', 'w')" + RIGHT, "error"),
    "shared-memory": (
        8,
        f"import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.shmget(0, 4096, 0o1666) < 0{RIGHT}",
        "passed",
    ),
    "forks": (8, "import os\ndef f(x):\n  while True: os.fork()", "error"),
    "threads": (
        8,
        "import threading, time\ndef f(x):\n"
        "  for _ in range(9): threading.Thread(target=time.sleep, args=(99,)).start()\n"
        "  return x + 1",
        "passed",
    ),
    "floods": (6, "def f(x):\n  while True: print('flood' * 1000)", "output_limit"),
    "exits": (4, "import os\ndef f(x): os._exit(0)", "crashed"),
    "memory": (3, "def f(x): return len(bytearray(1 << 30))", "memory"),
    "sleeps": (4, "import time\ndef f(x): time.sleep(99)", "timeout"),
    "spins": (1, "def f(x):\n  while True: pass", "timeout"),
}


def jobs(count: int) -> Iterator[tuple[Job, str]]:
    """Jobs in the proportions of `MIX`, evenly mixed, each with the verdict that is right."""
    owed = dict.fromkeys(MIX, 0)
    total = sum(share for share, _, _ in MIX.values())
    for _ in range(count):
        for name, (share, _, _) in MIX.items():
            owed[name] += share
        name = max(owed, key=lambda n: owed[n])
        owed[name] -= total
        _, program, verdict = MIX[name]
        yield Job(program, "f", TEST), verdict


@dataclass(frozen=True)
class Holdings:
    """What this process and its descendants hold, and what of ours lies about.

    ``files``: in /tmp and /dev/shm, by name or owned by the user that programs run as.
    """

    processes: int
    descriptors: int
    files: int
    shared_memory_segments: int
    mounts: int
    supervisor_bytes: int
    zygote_bytes: int

    @classmethod
    def now(cls) -> Holdings:
        """As it is at this moment."""
        me = psutil.Process()
        family = me.children(recursive=True)
        return cls(
            processes=len(family),
            descriptors=me.num_fds(),
            files=sum(1 for folder in ("/tmp", "/dev/shm") for _ in _ours(Path(folder))),
            shared_memory_segments=_lines("/proc/sysvipc/shm"),
            mounts=_lines("/proc/self/mounts"),
            supervisor_bytes=me.memory_info().rss,
            zygote_bytes=sum(process.memory_info().rss for process in family),
        )

    def left_since(
        self, before: Holdings, *, supervisor_bytes: int, zygote_bytes: int
    ) -> list[str]:
        """What there is more of than ``before``; memory may grow by so many bytes."""
        allowed = {"supervisor_bytes": supervisor_bytes, "zygote_bytes": zygote_bytes}
        found = []
        for field in fields(self):
            was, now = getattr(before, field.name), getattr(self, field.name)
            if now > was + allowed.get(field.name, 0):
                found.append(f"{field.name}: {was} before, {now} after")
        return found


def _ours(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        try:
            if path.name.startswith(NAME) or path.lstat().st_uid == 65534:
                yield path
        except FileNotFoundError:  # somebody else's, gone meanwhile
            continue


def _lines(path: str) -> int:
    try:
        return len(Path(path).read_text().splitlines())
    except OSError:
        return 0


def run(sandbox: Sandbox, count: int) -> list[str]:
    """Run ``count`` programs of the mix; what came out otherwise than it should."""
    wanted = list(jobs(count))
    results = sandbox.run([job for job, _ in wanted])
    return [
        f"{wanted[i][0].program!r}: {result.verdict} ({result.detail}) instead of {wanted[i][1]}"
        for i, result in results
        if result.verdict != wanted[i][1]
    ]
