"""The warm process that forks once per program; process 1 of its namespaces where it has them.

It is started by `launcher` with a control socket, sets up what all children share, tries the
whole setup in a throwaway child, and then serves commands (`server`).  It reads no byte of a
program or of its tests: children do, after the fork and behind all layers.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import socket
import sys
import warnings

from . import libc, namespaces, pipes, wire
from .containment import Config, Containment, LayerError, layer, out_of_the_way, try_layers
from .rehearsal import rehearse
from .server import Server

# Loaded once here instead of in every program; chosen by what tasks and models import.
PRELOADED = (
    "abc array ast bisect cmath collections collections.abc contextlib copy dataclasses datetime "
    "decimal enum fractions functools heapq io itertools json math numbers operator os "
    "random re statistics string struct sys threading time traceback types typing unicodedata "
    "warnings weakref"
)
# The standard library's modules over shared libraries of the system, which a child cannot open.
PRELOADED_LIBRARIES = "_bz2 _crypt _curses _hashlib _lzma _sqlite3 _ssl binascii zlib"
# Where a child may be unable to open the standard library, it gets more of it beforehand.
PRELOADED_WITHOUT_FILES = (
    "argparse asyncio base64 bz2 calendar colorsys concurrent.futures configparser csv difflib "
    "cProfile doctest email.message filecmp fileinput getpass graphlib gzip hashlib html.parser "
    "http.client inspect ipaddress optparse plistlib zoneinfo "
    "keyword linecache locale logging lzma multiprocessing pathlib pickle pprint queue secrets "
    "shelve shlex shutil sqlite3 ssl subprocess tempfile textwrap timeit tokenize tomllib unittest "
    "urllib.parse urllib.request uuid xml.etree.ElementTree zipfile"
)


def preload(names: str) -> None:
    """Import what programs commonly import; the garbage collector will not touch what is there."""
    warnings.simplefilter("ignore")
    random.seed(0)
    for name in names.split():
        with contextlib.suppress(ImportError):  # what is not installed nobody can want
            __import__(name)
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()


def become_first(control: socket.socket) -> None:
    """Fork into the new process namespace; the outer half only waits for the inner one."""
    pid = os.fork()
    if pid:
        control.close()
        os.waitpid(pid, 0)
        os._exit(0)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)


def main(descriptor: int) -> None:
    """Run as a zygote on the control socket ``descriptor``."""
    control = socket.socket(fileno=out_of_the_way(descriptor))
    message, _ = wire.receive_packet(control)
    config = Config(**{**message, "layers": frozenset(message["layers"])})
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    os.umask(0o022)
    own_root = "namespaces" in config.layers
    rehearse()
    pipes.let_loops_run()
    preload(f"{PRELOADED_LIBRARIES} {PRELOADED}")
    if not own_root:
        preload(PRELOADED_WITHOUT_FILES)
    try:
        containment = Containment(config)
        if containment.makes_namespaces:
            with layer("namespaces"):
                namespaces.unshare()
                become_first(control)
        containment.prepare()
        preload(config.preload)
        try_layers(config, containment)
    except LayerError as error:
        wire.send_packet(control, {"failed": error.layer, "reason": error.reason})
        return
    wire.send_packet(control, {"ready": True})
    Server(control, containment).serve()
