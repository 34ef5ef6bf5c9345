"""macOS: a zygote and its programs under one ``sandbox-exec`` profile.  Not run on a Mac yet.

Everything is denied but reading the interpreter, the standard library and the system's own
libraries.  The zygote must fork, so the profile cannot forbid that: RLIMIT_NPROC 0 does, in the
children.  macOS bounds no address space, so memory is not limited.
Source: sandbox-exec(1); the profile language as the profiles in /System/Library/Sandbox use it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from .bubblewrap import library_folders

_SANDBOX_EXEC = "/usr/bin/sandbox-exec"
_SYSTEM = ("/usr/lib", "/System/Library", "/private/var/db/dyld")


def find() -> str | None:
    """The helper's path."""
    return _SANDBOX_EXEC if os.access(_SANDBOX_EXEC, os.X_OK) else None


def profile(python: str, readable: Sequence[str]) -> str:
    """The rules, as text; paths are quoted as JSON is, which the language reads alike."""
    folders = "".join(f"\n  (subpath {json.dumps(folder)})" for folder in (*_SYSTEM, *readable))
    return f"""(version 1)
(deny default)
(allow process-exec (literal {json.dumps(python)}))
(allow process-fork)
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read* (literal "/") (literal "/dev/null") (literal "/dev/urandom")
  (literal {json.dumps(python)}){folders})
(allow file-write-data (literal "/dev/null"))
"""


def command(helper: str, package: str, readable: Sequence[str]) -> list[str]:
    """The arguments up to and with the interpreter, which its own arguments must follow."""
    python = os.path.realpath(sys.executable)
    rules = profile(python, [*library_folders(), os.path.realpath(package), *readable])
    return [helper, "-p", rules, python]
