"""What asyncio needs, of pipes and poll: programs may have neither sockets nor epoll."""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class PipeEnd:
    """As much of a connected socket as an event loop uses."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._read

    def recv(self, count: int) -> bytes:
        """Up to ``count`` bytes that the other end sent."""
        return os.read(self._read, count)

    def send(self, data: bytes) -> int:
        """Send bytes; how many were taken."""
        return os.write(self._write, data)

    def setblocking(self, flag: bool) -> None:
        """Whether to wait for what is not there yet."""
        for descriptor in (self._read, self._write):  # os.set_blocking would ask with an ioctl
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_NONBLOCK
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | (0 if flag else os.O_NONBLOCK))

    def close(self) -> None:
        """Give both descriptors back."""
        os.close(self._read)
        os.close(self._write)


def pair() -> tuple[PipeEnd, PipeEnd]:
    """Two ends, each of which reads what the other sends."""
    (first, second), (third, fourth) = os.pipe(), os.pipe()
    return PipeEnd(first, fourth), PipeEnd(third, second)


class _Finder:
    """Finds asyncio's loops on their first import and hands them `pair`; nobody else gets it."""

    _LOOPS = "asyncio.selector_events"

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is, with a loader that finishes it."""
        spec = PathFinder.find_spec(name, path) if name == self._LOOPS else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def finish(module: ModuleType) -> None:
            load(module)
            module.socket = _sockets()  # type: ignore[attr-defined]

        spec.loader.exec_module = finish  # type: ignore[method-assign]
        return spec


def _sockets() -> ModuleType:
    """The module socket, but for its pairs."""
    module = ModuleType("socket")
    vars(module).update(vars(socket))
    module.socketpair = pair  # type: ignore[attr-defined]
    return module


def let_loops_run() -> None:
    """From now on event loops are made of these."""
    sys.meta_path.insert(0, _Finder())
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc,assignment]
