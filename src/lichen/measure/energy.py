"""Electrical energy, modelled from CPU time and memory: a shipped table of processors.

A model, not a measurement: most machines that run this, virtual ones above all, have no power
counter that a program may read.  Every reading made here is labelled so and carries a range.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lichen.measure.machine import Processor
from lichen.measure.reading import Reading

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class PowerModel:
    """Watts of a family of processors per hardware thread, and of memory per GB (10^9 bytes).

    ``active_*`` is what one busy thread adds to an idle machine; ``idle_watts`` a thread's share
    of the idle machine, counted apart because the machine draws it whether or not it works.
    """

    name: str
    known: bool
    active_watts: float
    active_low: float
    active_high: float
    idle_watts: float
    memory_watts: float
    memory_low: float
    memory_high: float
    source: str
    memory_source: str

    def energy(self, cpu_seconds: float, wall_seconds: float, memory_bytes: float) -> Reading:
        """Joules above idle of work that kept threads busy and memory occupied."""
        gigabyte_seconds = memory_bytes / 1e9 * wall_seconds
        # A busy thread whose sibling on the same core idles draws up to what two busy ones
        # draw, and a virtual machine does not say which it has: hence twice the upper end.
        return Reading(
            value=cpu_seconds * self.active_watts + gigabyte_seconds * self.memory_watts,
            unit="J",
            kind="modelled",
            source="CPU time x watts of a busy thread + memory held x watts per GB, idle apart",
            low=cpu_seconds * self.active_low + gigabyte_seconds * self.memory_low,
            high=cpu_seconds * 2 * self.active_high + gigabyte_seconds * self.memory_high,
        )

    def idle_power(self, threads: int) -> Reading:
        """Watts that these hardware threads' share of the idle machine draws."""
        return Reading(
            value=threads * self.idle_watts,
            unit="W",
            kind="modelled",
            source=f"{threads} threads x {self.idle_watts} W, {self.name}",
        )


def power_model(found: Processor) -> PowerModel:
    """The family of this processor; the middle of the table, widely bounded, if not listed."""
    table = _table()
    entry = next((e for e in table["processor"] if _matches(e, found)), table["unknown"])
    memory = table["memory"]
    return PowerModel(
        name=entry["name"],
        known=entry is not table["unknown"],
        active_watts=entry["active"],
        active_low=entry["low"],
        active_high=entry["high"],
        idle_watts=entry["idle"],
        memory_watts=memory["watts_per_gb"],
        memory_low=memory["low"],
        memory_high=memory["high"],
        source=entry["source"],
        memory_source=memory["source"],
    )


def _matches(entry: dict[str, Any], found: Processor) -> bool:
    if "word" in entry:
        return entry["word"] in found.name.split()
    return (entry["vendor"], entry["family"]) == (found.vendor, found.family) and any(
        first <= found.model <= last for first, last in entry["models"]
    )


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("power.toml").read_text(encoding="utf-8"))
