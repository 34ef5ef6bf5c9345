"""What an exception means to the person at the terminal: one or two lines, and an exit code."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import click

from lichen.errors import LichenError

DONE, REJECTED, USAGE, UNDECIDED, FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130

DECISIONS = {"accept": DONE, "reject": REJECTED, "undecided": UNDECIDED}


@dataclass(frozen=True)
class Failure:
    """The lines to print and the code to exit with."""

    code: int
    lines: tuple[str, ...]


def explain(error: BaseException) -> Failure:
    """Sort an exception into lichen's exit codes; what nobody foresaw is a failure at run time."""
    match error:
        case click.UsageError():
            return _usage(error)
        case click.ClickException():
            return _failure(USAGE, error.format_message())
        case KeyboardInterrupt() | click.Abort():
            told = "interrupted; what was finished is kept, run the same command again to go on."
            return Failure(INTERRUPTED, (told,))
        case LichenError():
            return _failure(error.exit_code, str(error))
        case MemoryError():
            return _failure(
                FAILED, "out of memory; close other programs, or take a smaller model or batch."
            )
        case BrokenPipeError():
            return _failure(FAILED, "the reader of the output went away.")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            where = f" ({error.filename})" if error.filename else ""
            return _failure(
                FAILED, f"the disk is full{where}; free some space and run the same command again."
            )
        case PermissionError():
            return _failure(USAGE, f"{error.filename or 'a file'}: permission denied.")
        case OSError():
            return _failure(FAILED, f"{error.strerror or error}: {error.filename or 'no file'}.")
        case _:
            kind = type(error).__name__
            return _failure(
                FAILED,
                f"unexpected {kind}: {error}. This is a defect of lichen; --debug shows where.",
            )


def _usage(error: click.UsageError) -> Failure:
    told = _failure(USAGE, error.format_message())
    if error.ctx is None:
        return told
    return Failure(USAGE, (*told.lines, f"try `{error.ctx.command_path} --help`."))


def _failure(code: int, message: str) -> Failure:
    return Failure(code, (f"error: {' '.join(message.split())}",))
