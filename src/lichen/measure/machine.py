"""Where figures were taken: processor, cores, memory, system."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict


class MachineFields(TypedDict):
    """The fields of a run record's ``Machine``."""

    processor: str
    cores: int
    threads: int
    isa: str
    memory_bytes: int
    system: str
    python: str
    lichen: str


@dataclass(frozen=True)
class Processor:
    """A processor by name and, on x86, by the numbers that CPUID gives its family."""

    name: str
    vendor: str = ""
    family: int = -1
    model: int = -1


def machine(*, threads: int, isa: str) -> MachineFields:
    """This machine, with the threads and the instruction set that a run uses on it."""
    return MachineFields(
        processor=processor().name,
        cores=usable_cores(),
        threads=threads,
        isa=isa,
        memory_bytes=memory_bytes(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        lichen=_lichen_version(),
    )


def processor() -> Processor:
    """The processor of this machine; its name is never empty."""
    if platform.system() == "Darwin":
        return Processor(_sysctl("machdep.cpu.brand_string") or platform.machine())
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return parse_cpuinfo(text)


def parse_cpuinfo(text: str) -> Processor:
    """The first processor of a ``/proc/cpuinfo``; ARM kernels give codes in place of a name."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if "CPU implementer" in fields:
        arm = f"ARM implementer {fields['CPU implementer']} part {fields.get('CPU part', '?')}"
        return Processor(fields.get("model name", arm))
    return Processor(
        fields.get("model name") or platform.processor() or platform.machine(),
        fields.get("vendor_id", ""),
        _number(fields.get("cpu family")),
        _number(fields.get("model")),
    )


def usable_cores() -> int:
    """CPUs that this process may run on (its affinity, where the system tells)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Physical memory; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1


def _sysctl(name: str) -> str:
    try:
        found = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _lichen_version() -> str:
    try:
        return version("lichen")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "not installed"
