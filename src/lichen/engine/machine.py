"""What this machine offers to the engine: instruction sets and threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lichen import _core
from lichen.errors import InputError

_SMT = Path("/sys/devices/system/cpu/smt/active")


def choose_isa(wanted: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The instruction set to run with: ``wanted``, else ``LICHEN_ISA``, else the best there is."""
    supported = _core.supported_isas()
    choice = wanted or environment.get("LICHEN_ISA") or supported[-1]
    if choice not in supported:
        raise InputError(
            f"instruction set {choice!r} cannot run here; this machine has {', '.join(supported)}."
        )
    return choice


def choose_threads(wanted: int | None = None) -> int:
    """``wanted`` threads, else one for each physical core that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    logical = available or 1
    if wanted is None:
        return max(1, logical // 2) if _hyperthreads() else logical
    if not 1 <= wanted <= 4 * logical:
        raise InputError(f"threads is {wanted}; this machine takes 1 to {4 * logical}.")
    return wanted


def _hyperthreads() -> bool:
    try:
        return _SMT.read_text().strip() == "1"
    except OSError:
        return False
