"""Bytes between the processes: control packets with descriptors, and length-prefixed frames.

Both sides speak JSON only.  Nothing that comes from a program is ever unpickled or evaluated.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from .codec import dumps, loads

PACKET_BYTES = 16384
_SHORT, _LONG = 2048, 1 << 20
_LENGTH = struct.Struct(">I")


class ClosedError(Exception):
    """The other side has gone."""


class TooLongError(Exception):
    """The other side announced a frame beyond the limit."""


def send_packet(
    control: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()
) -> None:
    """Send one small message, with open descriptors beside it (SCM_RIGHTS)."""
    data = dumps(message)
    try:
        if descriptors:
            socket.send_fds(control, [data], list(descriptors))
        else:
            control.send(data)
    except OSError as error:
        raise ClosedError(str(error)) from None


def receive_packet(
    control: socket.socket, descriptors: int = 0
) -> tuple[dict[str, Any], list[int]]:
    """Receive one message and up to ``descriptors`` descriptors; `ClosedError` at the end."""
    try:
        if descriptors:
            data, received, _, _ = socket.recv_fds(control, PACKET_BYTES, descriptors)
        else:
            data, received = control.recv(PACKET_BYTES), []
    except OSError as error:
        raise ClosedError(str(error)) from None
    if not data:
        raise ClosedError
    return loads(data), received


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; `ClosedError` when nobody reads."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise ClosedError(str(error)) from None


def send_frame(descriptor: int, data: bytes) -> None:
    """Write one frame: four bytes of length, big endian, then the data."""
    write_all(descriptor, _LENGTH.pack(len(data)) + data)


class Frames:
    """Reads frames from a descriptor: a short one, which most are, with one call."""

    def __init__(self, descriptor: int, limit: int | None = None) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._read = b""  # beyond the frames received so far

    def receive(self) -> bytes:
        """The next frame; `TooLongError` when it is announced longer than the limit."""
        while len(self._read) < _LENGTH.size:
            self._read += self._part(_SHORT)
        (length,) = _LENGTH.unpack_from(self._read)
        if self._limit is not None and length > self._limit:
            raise TooLongError(length)
        parts, missing = [self._read], _LENGTH.size + length - len(self._read)
        while missing > 0:
            parts.append(self._part(min(missing, _LONG)))
            missing -= len(parts[-1])
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._read = data[_LENGTH.size + length :]
        return data[_LENGTH.size : _LENGTH.size + length]

    def _part(self, count: int) -> bytes:
        try:
            part = os.read(self._descriptor, count)
        except OSError as error:
            raise ClosedError(str(error)) from None
        if not part:
            raise ClosedError
        return part
