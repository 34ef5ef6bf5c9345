"""Namespaces through ``bwrap``, where the kernel lets it make them but not us.

Systems that keep user namespaces from ordinary programs often have a bwrap that may: by its
AppArmor profile, or with the set-user-id bit.  Source: bwrap(1) of bubblewrap 0.8.

The interpreter is executed inside, so the root holds the system's shared libraries too, read-only
(Landlock keeps programs from them).  It has no /tmp: bwrap bounds neither the number of files
in one nor, with the set-user-id bit, their size, and inside nobody may mount a clean one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .namespaces import HOST

PACKAGE = "/sandbox"  # where the inside finds this package
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_PUBLIC_FOLDER = ("--perms", "0755", "--dir")  # bwrap alone makes those above a mount private
# Root needs these to make programs nobody's, and to end them; they have none themselves.
_OF_ROOT = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL")


def find() -> str | None:
    """The helper's path."""
    return shutil.which("bwrap")


def command(bwrap: str, package: str, readable: Sequence[str]) -> list[str]:
    """The arguments up to and with the interpreter, which its own arguments must follow."""
    python = os.path.realpath(sys.executable)
    libraries = library_folders()
    links = [folder for folder in _SYSTEM if os.path.islink(folder)]
    folders = [f for f in (*_SYSTEM, *libraries) if os.path.isdir(f) and f not in links]
    capabilities = _OF_ROOT if os.geteuid() == 0 else ()
    return [
        *(bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc"),
        *("--unshare-uts", "--hostname", HOST),
        *("--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"),
        *(part for name in capabilities for part in ("--cap-add", name)),
        *(part for link in links for part in ("--symlink", os.readlink(link), link)),
        *(part for f in _above((*folders, *readable, python)) for part in (*_PUBLIC_FOLDER, f)),
        *(part for f in dict.fromkeys(folders) for part in ("--ro-bind", f, f)),
        *(part for f in _packages(folders) for part in ("--tmpfs", f, "--remount-ro", f)),
        *(part for f in readable for part in ("--ro-bind", f, f)),
        *("--ro-bind", python, python, "--ro-bind", package, PACKAGE),
        *("--remount-ro", "/", "--chdir", "/"),
        *("--setenv", "LD_LIBRARY_PATH", ":".join(libraries[:1])),
        *("--", python),
    ]


def library_folders() -> list[str]:
    """Where the interpreter's own shared library and the standard library lie."""
    found = (f"{sys.base_prefix}/lib", os.path.dirname(os.__file__))
    return list(dict.fromkeys(os.path.realpath(folder) for folder in found))


def _above(paths: Sequence[str]) -> list[str]:
    """Every folder above one of the paths, from the top down."""
    return sorted({str(folder) for path in paths for folder in Path(path).parents} - {"/"})


def _packages(folders: Sequence[str]) -> list[str]:
    """Folders of installed packages: nobody's business inside."""
    names = ("site-packages", "dist-packages")
    inside = [Path(f).glob(f"{depth}{n}") for f in folders for depth in ("", "*/") for n in names]
    return sorted({str(path) for found in inside for path in found if path.is_dir()})
