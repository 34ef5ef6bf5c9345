"""Which level this machine allows, and how to get a better one."""

from __future__ import annotations

from dataclasses import dataclass

from .api import Level, SandboxError
from .supervisor import Sandbox

_REMEDIES = {
    "namespaces": (
        "allow user namespaces (sysctl user.max_user_namespaces above 0, "
        "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0; "
        "in a container: a seccomp profile that permits unshare and mount)"
    ),
    "landlock": "use Linux 5.13 or later with landlock in the lsm= list",
    "seccomp": "use a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64",
}


@dataclass(frozen=True)
class Probe:
    """The level found here, the layers that are missing with the reason, and what would help.

    ``usable`` is False when the sandbox would refuse to run without an explicit permission.
    """

    level: Level
    missing: dict[str, str]
    remedy: str
    usable: bool


def probe() -> Probe:
    """Try the whole set-up in throwaway processes."""
    sandbox = Sandbox(workers=1, unsafe=True)
    try:
        with sandbox:
            level, missing = sandbox.level, dict(sandbox.missing)
    except SandboxError as error:
        return Probe("none", {"all": str(error)}, "run on Linux, x86-64 or aarch64", usable=False)
    remedy = "; ".join(_REMEDIES[layer] for layer in missing if layer in _REMEDIES)
    return Probe(level, missing, remedy, usable=level not in ("weak", "none"))
