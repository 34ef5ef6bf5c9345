"""What asyncio needs, of pipes and poll: programs may have neither sockets nor epoll."""

from __future__ import annotations

import fcntl
import os
import selectors
import socket


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


def replace_sockets() -> None:
    """From now on event loops are made of these."""
    socket.socketpair = pair  # type: ignore[assignment]
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc,assignment]
