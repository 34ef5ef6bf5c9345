"""Which level this machine allows, and how to get a better one."""

from __future__ import annotations

from dataclasses import dataclass

from .api import Launcher, Level, SandboxError
from .remedies import remedy
from .supervisor import LAYERS, Sandbox


@dataclass(frozen=True)
class Probe:
    """What was found here.

    ``layers`` says of each layer "present" or "missing: " and why; ``missing`` has the reasons
    alone, ``remedies`` what would bring each missing layer.  ``usable`` is False when the sandbox
    would refuse to run without an explicit permission.
    """

    level: Level
    launcher: Launcher
    layers: dict[str, str]
    missing: dict[str, str]
    remedies: dict[str, str]
    usable: bool


def probe(*, without: frozenset[str] = frozenset()) -> Probe:
    """Try the whole set-up in throwaway processes; ``without`` as for `Sandbox`."""
    sandbox = Sandbox(workers=1, unsafe=True, without=without)
    try:
        with sandbox:
            level, missing = sandbox.level, dict(sandbox.missing)
    except SandboxError as error:
        missing = dict.fromkeys(LAYERS, str(error))
        remedies = {"all": remedy("all")}
        return Probe("none", "direct", _told(missing, sandbox), missing, remedies, usable=False)
    missing |= {name: "left out" for name in LAYERS if name in without}
    remedies = {name: remedy(name) for name in missing if name not in without}
    usable = level not in ("weak", "none")
    return Probe(level, sandbox.launcher, _told(missing, sandbox), missing, remedies, usable)


def _told(missing: dict[str, str], sandbox: Sandbox) -> dict[str, str]:
    told = {n: f"missing: {missing[n]}" if n in missing else "present" for n in LAYERS}
    if sandbox.launcher != "direct" and "namespaces" not in missing:
        told["namespaces"] += f", through {sandbox.launcher}"
        told["namespaces"] += f" (directly: {sandbox.refused})" if sandbox.refused else ""
    return told
