"""Bytes between the processes: control packets with descriptors, and length-prefixed frames.

Both sides speak JSON only.  Nothing that comes from a program is ever unpickled or evaluated.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

PACKET_BYTES = 16384
_LENGTH = struct.Struct(">I")


class ClosedError(Exception):
    """The other side has gone."""


class TooLongError(Exception):
    """The other side announced a frame beyond the limit."""


def send_packet(
    control: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()
) -> None:
    """Send one small message, with open descriptors beside it (SCM_RIGHTS)."""
    data = json.dumps(message).encode()
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
        data, received, _, _ = socket.recv_fds(control, PACKET_BYTES, descriptors)
    except OSError as error:
        raise ClosedError(str(error)) from None
    if not data:
        raise ClosedError
    return json.loads(data), received


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; `ClosedError` when nobody reads."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise ClosedError(str(error)) from None


def _read_exactly(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        try:
            part = os.read(descriptor, min(count, 1 << 20))
        except OSError as error:
            raise ClosedError(str(error)) from None
        if not part:
            raise ClosedError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def send_frame(descriptor: int, data: bytes) -> None:
    """Write one frame: four bytes of length, big endian, then the data."""
    write_all(descriptor, _LENGTH.pack(len(data)) + data)


def receive_frame(descriptor: int, limit: int | None = None) -> bytes:
    """Read one frame; `TooLongError` when it is announced longer than ``limit`` bytes."""
    (length,) = _LENGTH.unpack(_read_exactly(descriptor, _LENGTH.size))
    if limit is not None and length > limit:
        raise TooLongError(length)
    return _read_exactly(descriptor, length)
