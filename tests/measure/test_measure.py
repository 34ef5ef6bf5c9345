"""Machine, power table, carbon table, sizes, and the footprint that they give together."""

from __future__ import annotations

import os
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lichen.errors import InputError
from lichen.measure import (
    Grid,
    PowerModel,
    Processor,
    Reading,
    assumptions,
    footprint,
    grid,
    machine,
    power_model,
    processor,
    size_on_disk,
)
from lichen.measure.carbon import places
from lichen.measure.machine import parse_cpuinfo

TABLE = tomllib.loads(files("lichen.measure").joinpath("power.toml").read_text(encoding="utf-8"))

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC 9755 128-Core Processor

processor\t: 1
vendor_id\t: AuthenticAMD
model name\t: another
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


class TestMachine:
    def test_fields(self) -> None:
        found = machine(threads=2, isa="avx2")
        assert (found["threads"], found["isa"]) == (2, "avx2")
        assert found["cores"] >= 1
        assert found["processor"]
        if hasattr(os, "sysconf"):
            assert found["memory_bytes"] > 100e6

    def test_x86_cpuinfo_is_read_from_the_first_processor(self) -> None:
        assert parse_cpuinfo(X86) == Processor(
            "AMD EPYC 9755 128-Core Processor", "AuthenticAMD", 26, 2
        )

    def test_arm_cpuinfo_has_no_name(self) -> None:
        assert parse_cpuinfo(ARM).name == "ARM implementer 0x41 part 0xd0c"

    def test_without_cpuinfo_there_is_still_a_name(self) -> None:
        assert parse_cpuinfo("").name


class TestPower:
    @pytest.mark.parametrize(
        ("found", "family"),
        [
            (Processor("AMD EPYC", "AuthenticAMD", 26, 2), "Zen 5"),
            (Processor("AMD EPYC 7B13", "AuthenticAMD", 25, 1), "Zen 3"),
            (Processor("AMD EPYC 9654", "AuthenticAMD", 25, 17), "Zen 4"),
            (Processor("Intel(R) Xeon(R) CPU @ 2.00GHz", "GenuineIntel", 6, 85), "Skylake"),
            (Processor("Intel(R) Xeon(R) Platinum 8481C", "GenuineIntel", 6, 143), "Sapphire"),
            (Processor("Apple M2 Pro"), "Apple"),
        ],
    )
    def test_families(self, found: Processor, family: str) -> None:
        assert power_model(found).known
        assert family in power_model(found).name

    def test_unknown_processors_are_said_to_be_unknown(self) -> None:
        found = power_model(Processor("Pineapple", "Nobody", 6, 85))
        assert not found.known
        assert "not in the table" in assumptions(found, grid("JP"))[0]

    @pytest.mark.parametrize("entry", TABLE["processor"], ids=lambda e: e["name"])
    def test_every_entry_is_ordered_sourced_and_plausible(self, entry: dict[str, object]) -> None:
        low, middle, high = (float(str(entry[k])) for k in ("low", "active", "high"))
        assert 0.3 < low <= middle <= high < 12
        assert 0.1 < float(str(entry["idle"])) < 3
        assert entry["source"]

    def test_no_processor_is_in_two_entries(self) -> None:
        seen = [
            (e["vendor"], e["family"], model)
            for e in TABLE["processor"]
            for first, last in e.get("models", [])
            for model in range(first, last + 1)
        ]
        assert len(seen) == len(set(seen))

    def test_energy_is_cpu_time_and_memory_in_joules(self) -> None:
        found = MODEL.energy(cpu_seconds=10, wall_seconds=5, memory_bytes=2e9)
        assert found.value == pytest.approx(10 * 2 + 5 * 2 * 0.4)
        assert (found.unit, found.kind) == ("J", "modelled")
        assert found.low == pytest.approx(10 * 1 + 5 * 2 * 0.3)
        assert found.high == pytest.approx(10 * 2 * 3 + 5 * 2 * 0.5)

    @given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e12))
    def test_energy_lies_in_its_interval(self, cpu: float, wall: float, memory: float) -> None:
        found = power_model(processor()).energy(cpu, wall, memory)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high


MODEL = PowerModel(
    name="test",
    known=True,
    active_watts=2,
    active_low=1,
    active_high=3,
    idle_watts=0.5,
    memory_watts=0.4,
    memory_low=0.3,
    memory_high=0.5,
    source="here",
    memory_source="here",
)


class TestCarbon:
    @pytest.mark.parametrize("place", ["FR", "fr", "France", " france "])
    def test_by_code_or_name(self, place: str) -> None:
        found = grid(place)
        assert (found.place, found.year, found.grams_per_kwh) == ("France", 2023, 56)
        assert "Ember" in found.source
        assert found.warning is None

    def test_given_figure(self) -> None:
        assert grid("120").grams_per_kwh == grid(120.0).grams_per_kwh == 120
        assert grid(0).warning is None

    @pytest.mark.parametrize("place", [None, "Atlantis"])
    def test_unknown_place_is_475_with_a_warning(self, place: str | None) -> None:
        found = grid(place)
        assert found.grams_per_kwh == 475
        assert found.warning is not None
        assert "475" in found.warning

    @pytest.mark.parametrize("figure", [-1, 1e6, "nan", "inf"])
    def test_impossible_figures(self, figure: float | str) -> None:
        with pytest.raises(InputError, match="between 0 and 3000"):
            grid(figure)

    def test_a_year_that_is_not_there(self) -> None:
        with pytest.raises(InputError, match="France for 1990; the table has 2023"):
            grid("FR", 1990)

    def test_the_whole_table_is_plausible(self) -> None:
        assert len(places()) >= 40
        for code in places():
            assert 20 <= grid(code).grams_per_kwh <= 800, code


class TestSize:
    def test_folder_counts_weights_only(self, tmp_path: Path) -> None:
        (tmp_path / "model-00001.safetensors").write_bytes(bytes(100))
        (tmp_path / "model-00002.safetensors").write_bytes(bytes(50))
        (tmp_path / "tokenizer.json").write_bytes(bytes(7))
        found = size_on_disk(tmp_path)
        assert (found.value, found.unit, found.kind) == (150, "B", "measured")

    def test_gguf_file(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(bytes(33))
        assert size_on_disk(tmp_path / "m.gguf").value == 33

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no weight files"):
            size_on_disk(tmp_path / "absent")


class TestFootprint:
    readings: ClassVar = {
        "cpu_per_token": Reading(value=0.02, unit="s", kind="measured", source="x"),
        "batch_speed": Reading(value=100, unit="tok/s", kind="measured", source="x"),
        "peak_memory": Reading(value=1e9, unit="B", kind="measured", source="x"),
    }
    grid = Grid(500, "here", 2023, "test")

    def test_per_token_per_task_and_co2(self) -> None:
        found = footprint(self.readings, MODEL, self.grid, threads=2, tokens=6000, solved=30)
        joules = 0.02 * 2 + 0.01 * 1 * 0.4
        assert found["energy_per_token"].value == pytest.approx(joules)
        assert found["energy_per_solved_task"].value == pytest.approx(joules * 200)
        grams = joules * 200 / 3.6e6 * 500
        assert found["co2_per_solved_task"].value == pytest.approx(grams)
        assert found["idle_power"].value == 1.0
        for reading in found.values():
            assert reading.kind == "modelled"
            assert reading.source

    def test_intervals_scale_with_the_value(self) -> None:
        found = footprint(self.readings, MODEL, self.grid, threads=2, tokens=6000, solved=30)
        token, task = found["energy_per_token"], found["energy_per_solved_task"]
        assert token.low is not None
        assert task.low == pytest.approx(200 * token.low)

    def test_nothing_solved_means_no_figure_per_task(self) -> None:
        found = footprint(self.readings, MODEL, self.grid, threads=2, tokens=6000, solved=0)
        assert found.keys() == {"energy_per_token", "idle_power"}

    def test_without_readings_there_is_nothing(self) -> None:
        assert footprint({}, MODEL, self.grid, threads=2, tokens=1, solved=1) == {}

    def test_assumptions_say_everything_that_was_assumed(self) -> None:
        told = " ".join(assumptions(MODEL, grid()))
        for part in ("2 W", "1 to 6 W", "0.4 W per GB", "475 g", "IEA", "not known", "Idle"):
            assert part in told
