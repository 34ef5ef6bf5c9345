"""What to change on this machine to get a layer that it lacks, as exactly as can be told."""

from __future__ import annotations

from pathlib import Path

_BWRAP = "install bubblewrap (apt-get install bubblewrap; dnf install bubblewrap)"
# A file, what it says where namespaces are refused, and what allows them again.
_SWITCHES = (
    (
        "proc/sys/user/max_user_namespaces",
        "0",
        "sysctl -w user.max_user_namespaces=15000",
    ),
    (
        "proc/sys/kernel/unprivileged_userns_clone",
        "0",
        f"sysctl -w kernel.unprivileged_userns_clone=1, or {_BWRAP}",
    ),
    (
        "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        f"{_BWRAP} and load AppArmor's profile bwrap-userns-restrict (package "
        "apparmor-profiles), or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
_CONTAINER_MARKS = (".dockerenv", "run/.containerenv")
_CONTAINER = (
    "start the container with a seccomp profile that permits unshare, mount and pivot_root "
    "(docker or podman run --security-opt seccomp=unconfined), or outside a container"
)


def remedy(layer: str, root: Path = Path("/")) -> str:
    """What would bring the layer; ``root`` is where the system's files are looked up."""
    if layer == "namespaces":
        return _for_namespaces(root)
    if layer == "landlock":
        return _for_landlock(root)
    if layer == "seccomp":
        return "use a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64"
    return "run on Linux, x86-64 or aarch64"


def _for_namespaces(root: Path) -> str:
    found = [told for name, refusal, told in _SWITCHES if _read(root / name) == refusal]
    if any((root / mark).exists() for mark in _CONTAINER_MARKS):
        found.append(_CONTAINER)
    return "; ".join(found or [_BWRAP])


def _for_landlock(root: Path) -> str:
    modules = _read(root / "sys/kernel/security/lsm")
    if modules and "landlock" not in modules.split(","):
        return f"boot with lsm=landlock,{modules} (Linux 5.13 or later)"
    return "use Linux 5.13 or later, built with CONFIG_SECURITY_LANDLOCK"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
