"""Starting a zygote and talking to it, from the supervising process."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import bubblewrap, portable, seatbelt, wire
from .api import Launcher, SandboxError

_START_SECONDS = 60.0
_REPLY_SECONDS = 20.0
_END_SECONDS = 5.0
_LAYER_OF = {"bwrap": "namespaces", "sandbox-exec": "seatbelt"}  # the layer that a helper makes
_NAME = "lichen_sandbox"
# The package is loaded under a name of its own: the zygote must import nothing of lichen, and a
# folder of ours on sys.path would let a program import from it.  Handlers for after a fork are
# dropped (random would reseed itself, threading renew its locks): the zygote has one thread and
# seeds random once, and the handlers would copy two thirds of the pages that a child touches.
_BOOTSTRAP = f"""
import os, sys, types
os.register_at_fork = lambda **handlers: None
folder, descriptor = sys.argv[1:]
sys.argv = ["program"]
package = types.ModuleType({_NAME!r})
package.__path__ = [folder]
sys.modules[{_NAME!r}] = package
from {_NAME}.zygote import main
main(int(descriptor))
"""
# Not -I, which would ignore PYTHONHASHSEED; this environment holds nothing else that matters.
_FLAGS = ("-s", "-S", "-P", "-B")
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    "LD_BIND_NOW": "1",
}


class DeadZygoteError(Exception):
    """The zygote ended, or does not answer."""


class MissingLayerError(Exception):
    """The zygote could not set up ``layer``."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer = layer
        self.reason = reason


class Zygote:
    """A running zygote.  ``control`` may be selected on for replies."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Start it; `wait_ready` must follow."""
        self._launcher: Launcher = config["launcher"]
        command = _interpreter(config)
        self.control, inner = portable.control_pair()
        self._complaints = os.fdopen(portable.anonymous_file("complaints"), "rb")
        try:
            with portable.fixed_addresses():
                self._process = subprocess.Popen(
                    [*command, str(inner.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._complaints,
                    pass_fds=(inner.fileno(),),
                    env=_ENVIRONMENT,
                    cwd="/",
                    # Out of the terminal's reach: Ctrl-C is for the supervisor, which ends us.
                    start_new_session=True,
                )
        except OSError as error:
            self.control.close()
            self._complaints.close()
            raise SandboxError(f"cannot start {sys.executable}: {error}") from None
        finally:
            inner.close()
        with contextlib.suppress(DeadZygoteError):  # `wait_ready` says why
            self.send(config)

    @property
    def pid(self) -> int:
        """Its outermost process."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until it serves; `MissingLayerError` when it cannot."""
        try:
            message = self.receive(_START_SECONDS)
        except DeadZygoteError:
            if self._launcher == "direct":
                raise
            raise MissingLayerError(_LAYER_OF[self._launcher], self._last_words()) from None
        if "failed" in message:
            raise MissingLayerError(message["failed"], message["reason"])

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a command."""
        try:
            wire.send_packet(self.control, message, descriptors)
        except wire.ClosedError:
            raise DeadZygoteError from None

    def receive(self, seconds: float = _REPLY_SECONDS) -> dict[str, Any]:
        """The reply to the last command."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise DeadZygoteError
        try:
            return wire.receive_packet(self.control)[0]
        except wire.ClosedError:
            raise DeadZygoteError from None

    def _last_words(self) -> str:
        """What a launcher that gave up said, on one line."""
        self._complaints.seek(0)
        lines = self._complaints.read(4096).decode(errors="replace").split("\n")
        said = next((line for line in lines if line.strip()), "no answer")
        return said if said.startswith(self._launcher) else f"{self._launcher}: {said}"

    def hang_up(self) -> None:
        """Tell it to end, without waiting: it reads the end of the control socket and leaves."""
        self.control.close()

    def close(self) -> None:
        """End it and everything that it started; waits for the end."""
        self.hang_up()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its inner half and every child die with it (PDEATHSIG)
            self._process.wait()
        self._complaints.close()


def _interpreter(config: dict[str, Any]) -> list[str]:
    """The command that starts a zygote, but for the number of its control socket."""
    package = str(Path(__file__).resolve().parent)
    launcher: Launcher = config["launcher"]
    if launcher == "direct":
        return [sys.executable, *_FLAGS, "-c", _BOOTSTRAP, package]
    by, inside = (bubblewrap, bubblewrap.PACKAGE) if launcher == "bwrap" else (seatbelt, package)
    helper = by.find()
    if helper is None:
        raise MissingLayerError(_LAYER_OF[launcher], f"there is no {launcher}")
    start = by.command(helper, package, config["readable"])
    return [*start, *_FLAGS, "-c", _BOOTSTRAP, inside]
