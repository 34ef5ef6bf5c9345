"""What every child puts on before it reads its program, and the proof that it holds."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from . import landlock, limits, namespaces, seccomp, syscalls
from .api import Launcher

_OWN = 16  # the zygote's own descriptors start here
_PAYLOAD = 3


@dataclass(frozen=True)
class Config:
    """What the supervisor asks for; ``layers`` of "namespaces", "landlock", "seccomp", "limits".

    ``launcher``: who makes the namespaces.  ``processes``: RLIMIT_NPROC, which counts threads,
    and, outside a user namespace of our own, everything else that the same user runs.
    """

    layers: frozenset[str]
    launcher: Launcher
    processes: int
    cpu_seconds: int
    memory_bytes: int
    output_bytes: int
    scratch_bytes: int
    readable: Sequence[str] = ()
    preload: str = ""


class LayerError(Exception):
    """A layer cannot be had here."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(reason)
        self.layer = layer
        self.reason = reason


class Containment:
    """Everything that a child puts on, prepared as far as it can be before the fork."""

    def __init__(self, config: Config) -> None:
        self._config = config
        sys.path += config.readable
        self._libraries = library_folders()
        self._user = limits.NOBODY if os.geteuid() == 0 else None
        self.own_processes = "namespaces" in config.layers
        self.makes_namespaces = self.own_processes and config.launcher == "direct"
        self._seccomp = "seccomp" in config.layers
        self._limits = "limits" in config.layers
        self._folder = namespaces.SCRATCH if self.makes_namespaces else "/"
        self._base_memory = address_space()
        self._ruleset: int | None = None
        self._steps: list[tuple[str, limits.Step]] = []
        self._filters: dict[bool, limits.Step] = {}  # by: may it receive jobs
        self._scratch = (0, 0, 0)

    def prepare(self) -> None:
        """Set up what all children share (in process 1)."""
        if self.makes_namespaces:
            with layer("namespaces"):
                namespaces.enter_root(self._libraries, self._config.scratch_bytes)
                self._libraries = [namespaces.inside(folder) for folder in self._libraries]
                sys.path[:] = map(namespaces.inside, sys.path)
                self._scratch = namespaces.scratch_state()
        with layer("privileges"):
            if self._user is not None:
                self._user = usable_user(self._user)
            limits.forbid_new_privileges()
        if self._limits:
            with layer("limits"):
                limits.limit_family(
                    memory_bytes=self._config.memory_bytes + self._base_memory,
                    file_bytes=self._config.output_bytes,
                )
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; it marks a flood
        self._make_ruleset()
        self._steps = list(self._list_steps())
        if self._seccomp:
            with layer("seccomp"):
                for receives in (False, True):
                    prepared = seccomp.prepare(
                        files=self._file_access(),
                        architecture=syscalls.architecture(),
                        receives=receives,
                    )
                    self._filters[receives] = seccomp.restriction(prepared)

    def _file_access(self) -> seccomp.FileAccess:
        if self.makes_namespaces:
            return "write"
        return "read" if self.own_processes or self._ruleset is not None else "none"

    def _make_ruleset(self) -> None:
        if "landlock" not in self._config.layers:
            return
        if self._ruleset is not None:
            os.close(self._ruleset)
        with layer("landlock"):
            writable = [namespaces.SCRATCH] if self.makes_namespaces else []
            self._ruleset = out_of_the_way(landlock.ruleset(self._libraries, writable))

    def enter(self, output: int, kept: int, *, receives: bool = False) -> None:
        """In a child: put on every layer, and keep only ``kept`` descriptors from 3 on.

        ``receives``: it may go on to receive descriptors, through the first of these.
        """
        doing = ""
        try:
            for doing, step in self._steps:  # noqa: B007 (named when a step fails)
                step()
            limits.arrange_descriptors(output, kept)
            if self._filters:
                doing = "seccomp"
                self._filters[receives]()
        except OSError as error:
            raise LayerError(doing, error.strerror or str(error)) from error

    def _list_steps(self) -> Iterator[tuple[str, limits.Step]]:
        """What a child does first, in this order, and the layer that it makes."""
        yield "namespaces", partial(os.chdir, self._folder)
        if self._limits:
            # Without a process namespace and a filter, an attacker needs only to fork to stay.
            processes = self._config.processes if self._seccomp or self.own_processes else 0
            for step in limits.child_limits(self._config.cpu_seconds, processes):
                yield "limits", step
        for step in limits.privileges_dropped(self._user):
            yield "privileges", step
        if not self.own_processes:
            yield "privileges", limits.die_with_parent
        if self._ruleset is not None:
            yield "landlock", landlock.restriction(self._ruleset)

    def clean(self) -> None:
        """After a job: nothing that it left in /tmp may reach the next."""
        if self.makes_namespaces and namespaces.scratch_state() != self._scratch:
            namespaces.unmount_scratch()
            namespaces.mount_scratch(self._config.scratch_bytes)
            self._scratch = namespaces.scratch_state()
            self._make_ruleset()  # its rule for /tmp named the old one
        self._steps = list(self._list_steps())


@contextlib.contextmanager
def layer(name: str) -> Iterator[None]:
    """Turns an OSError inside into a `LayerError` that names the layer."""
    try:
        yield
    except OSError as error:
        raise LayerError(name, error.strerror or str(error)) from error


def library_folders() -> list[str]:
    """The standard library's folders, none inside another."""
    folders = sorted({os.path.realpath(path) for path in sys.path if os.path.isdir(path)})
    return [f for f in folders if not any(f != g and f.startswith(g + "/") for g in folders)]


def address_space() -> int:
    """Bytes of address space in use, which RLIMIT_AS counts too."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 256 << 20


def usable_user(user: int) -> int | None:
    """``user`` if this root can become it, else None (a container that has no second user)."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            os._exit(1)
        os._exit(0)
    return user if os.waitpid(pid, 0)[1] == 0 else None


def try_layers(config: Config, containment: Containment) -> None:
    """Put everything on in a throwaway child and try what must fail; `LayerError` otherwise.

    By doing, not by asking: kernels have claimed a Landlock that they lacked.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(write, _PAYLOAD)
            containment.enter(write, kept=1)
            found = _find_hole(config)
        except LayerError as error:
            found = error.layer, error.reason
        os.write(_PAYLOAD, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read(4096)
    os.waitpid(pid, 0)
    if not answer:
        raise LayerError("setup", "the trial child died")
    layer_name, reason = json.loads(answer)
    if layer_name:
        raise LayerError(layer_name, reason)


# What must fail behind each layer.
_ATTEMPTS: dict[str, dict[str, Callable[[], object]]] = {
    "seccomp": {"a socket": socket.socket, "a fork": os.fork},
    "seatbelt": {"a fork": os.fork, "reading a password file": partial(open, "/etc/passwd")},
    "landlock": {"listing a folder outside": partial(os.listdir, "/")},
    "namespaces": {
        "the sight of the old root": partial(os.stat, "/etc"),
        "the sight of other processes": partial(os.stat, "/proc/1"),
    },
}


def _find_hole(config: Config) -> tuple[str, str]:
    """The first layer that does not hold, and what it let through; ("", "") when all do."""
    for name, attempts in _ATTEMPTS.items():
        for what, attempt in attempts.items() if name in config.layers else ():
            try:
                attempt()
            except OSError:
                continue
            return name, f"{what} was allowed"
    return "", ""


def out_of_the_way(descriptor: int) -> int:
    """The same file under a number that no received descriptor gets."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _OWN)
    os.close(descriptor)
    return moved
