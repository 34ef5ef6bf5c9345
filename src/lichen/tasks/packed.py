"""Files of tasks or samples: plain or gzip, of any kind that can be read, and not without end."""

from __future__ import annotations

import gzip
import zlib
from itertools import takewhile
from pathlib import Path

from lichen.errors import InputError

MOST_BYTES = 1 << 30
_PIECE = 1 << 20


def read_bytes(path: Path, what: str) -> bytes:
    """What is in the file, unpacked when its name ends in .gz.

    Raises `InputError`, which calls the content ``what``, where it cannot be read or holds more
    than 1 GiB: a pipe or a device may never end.
    """
    data = bytearray()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for piece in takewhile(len, iter(lambda: file.read(_PIECE), None)):
                data += piece
                if len(data) > MOST_BYTES:
                    raise InputError(f"cannot read the {what} in {path}: more than 1 GiB")
    except (OSError, EOFError, zlib.error) as error:  # gzip's own errors are OSErrors
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the {what} in {path}: {reason}") from None
    return bytes(data)
