"""Ctrl-C for a process that tells when it is at work."""

from __future__ import annotations

import signal
import subprocess
import time


def seconds_to_end(process: subprocess.Popen[bytes]) -> float:
    """Interrupt a process after its first line of output; how long it takes to end."""
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        return time.monotonic() - start
