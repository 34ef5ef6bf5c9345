"""The errors that lichen raises on purpose, each with the exit code it ends a command with.

A message is one or two lines for the person at the terminal: what was given, what is
allowed, what to do.  Anything else that escapes is a defect.
"""


class LichenError(Exception):
    """Base of lichen's own errors; by itself a failure at run time (exit code 4)."""

    exit_code = 4


class InputError(LichenError):
    """What the user gave cannot be used: a path, a file, a flag, a model (exit code 2)."""

    exit_code = 2


class ResourceError(LichenError):
    """The machine could not carry on: disk, memory, a worker that died (exit code 4)."""

    exit_code = 4
