"""stdout: one JSON document or text for people; a reader that goes away is no error.

stderr: words for people, which are no reason to end a run when they cannot be written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO


def tell(text: str) -> None:
    """Print a line for people on stderr, or nowhere where it takes none (a full disk, a reader that
    went away): hours of work and the exit code are worth more."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _send_nowhere(sys.stderr)


def emit(text: str) -> None:
    """Print a line of the result.  The exit code matters even when nobody reads the text."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        close_stdout()


def emit_json(document: Any) -> None:
    """Print one JSON document: a msgspec Struct, a dataclass, or plain data."""
    import msgspec

    emit(msgspec.json.format(msgspec.json.encode(document, enc_hook=str)).decode())


def emit_rich(*renderables: Any) -> None:
    """Print tables and the like, as wide as the terminal; 100 columns into a file."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    console = Console(width=width, highlight=False)
    # Not printed by rich, which ends the process where the reader went away.
    with console.capture() as written:
        for renderable in renderables:
            console.print(renderable)
    emit(written.get().removesuffix("\n"))


def emit_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns, never cut: what reads them may be a program."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        emit("  ".join(cells).rstrip())


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read as text, without its name."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"not UTF-8 text, at byte {error.start}"


def flush_stdout() -> None:
    """Write out what is left, so that a full disk behind stdout is seen and told."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()


def close_stdout() -> None:
    """Send the rest nowhere, so that the interpreter's own last flush cannot fail either."""
    try:
        sys.stdout.flush()
    except OSError:
        _send_nowhere(sys.stdout)


def _send_nowhere(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
