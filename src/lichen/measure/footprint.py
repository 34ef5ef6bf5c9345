"""Energy and CO2 of the work, from what the probe measured and what the tasks took."""

from __future__ import annotations

from collections.abc import Mapping

from lichen.measure.carbon import Grid
from lichen.measure.energy import JOULES_PER_KWH, PowerModel
from lichen.measure.reading import Reading


def footprint(
    readings: Mapping[str, Reading],
    power: PowerModel,
    grid: Grid,
    *,
    threads: int,
    tokens: int,
    solved: int,
) -> dict[str, Reading]:
    """Energy per token and per solved task, CO2 per solved task, and the idle power beside them.

    readings  of `measure_model`: cpu_per_token, batch_speed and peak_memory are used
    tokens    generated on a task set, in all
    solved    tasks of it that passed; with none, there is no figure per solved task

    Answers that failed cost energy too: the energy of all tokens is shared by the solved tasks.
    """
    needed = ("cpu_per_token", "batch_speed", "peak_memory")
    if any(name not in readings for name in needed):
        return {}
    per_token = power.energy(
        readings["cpu_per_token"].value,
        1 / readings["batch_speed"].value,
        readings["peak_memory"].value,
    )
    found = {"energy_per_token": per_token, "idle_power": power.idle_power(threads)}
    if solved > 0 and tokens > 0:
        per_task = scaled(
            per_token,
            tokens / solved,
            "J",
            f"energy per token x {tokens:,} tokens / {solved:,} solved tasks",
        )
        found["energy_per_solved_task"] = per_task
        found["co2_per_solved_task"] = scaled(
            per_task,
            grid.grams_per_kwh / JOULES_PER_KWH,
            "g",
            f"energy per solved task x {grid.grams_per_kwh:g} g/kWh ({grid.place})",
        )
    return found


def assumptions(power: PowerModel, grid: Grid) -> list[str]:
    """Everything that the modelled readings rest on, in sentences."""
    known = "" if power.known else "The processor is not in the table, so the range is wide. "
    year = f", {grid.year}" if grid.year else ""
    sentences = [
        f"{known}Power: {power.active_watts:g} W for each busy hardware thread "
        f"({power.active_low:g} to {2 * power.active_high:g} W), taken from {power.name}. "
        f"Source: {power.source}.",
        f"Memory: {power.memory_watts:g} W per GB held "
        f"({power.memory_low:g} to {power.memory_high:g}). Source: {power.memory_source}.",
        f"Idle power is kept apart: {power.idle_watts:g} W for each hardware thread, drawn whether "
        "the machine works or not. Cooling of a data centre is not counted.",
        f"Electricity: {grid.grams_per_kwh:g} g CO2 per kWh ({grid.place}{year}). "
        f"Source: {grid.source}.",
        "Ranges of energy and CO2 cover the power of the processor and of memory; not the making "
        "of the machine.",
    ]
    return sentences if grid.warning is None else [*sentences, grid.warning]


def scaled(reading: Reading, factor: float, unit: str, source: str) -> Reading:
    """The reading times a factor, interval included; what is modelled stays modelled."""
    return Reading(
        value=reading.value * factor,
        unit=unit,
        kind=reading.kind,
        source=source,
        low=None if reading.low is None else reading.low * factor,
        high=None if reading.high is None else reading.high * factor,
    )
