"""The probe's child process: its readings, its isolation, and what becomes of failures."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.measure import fake_model
from tests.measure.fake_model import DECODE_SECONDS, PREFILL_SECONDS, FakeModel, SilentModel

from lichen.completion import Request
from lichen.errors import InputError, ResourceError
from lichen.measure import probe, timing, workload
from lichen.measure.reading import Reading

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
UNITS = {
    "load_time": "s",
    "peak_memory": "B",
    "first_token": "s",
    "decode_speed": "tok/s",
    "prefill_speed": "tok/s",
    "batch_speed": "tok/s",
    "cpu_per_token": "s",
}


@pytest.fixture(autouse=True)
def _fake_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LOADER", f"{fake_model.__name__}:load")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")


@pytest.fixture(scope="module")
def readings() -> dict[str, Reading]:
    return timing.measure(FakeModel)


def test_every_reading_is_measured_with_unit_and_source(readings: dict[str, Reading]) -> None:
    assert {name: r.unit for name, r in readings.items()} == UNITS
    assert all(r.kind == "measured" and r.source and r.value > 0 for r in readings.values())


def test_decode_speed_leaves_the_prompt_out(readings: dict[str, Reading]) -> None:
    assert readings["decode_speed"].value == pytest.approx(1 / DECODE_SECONDS, rel=0.15)


def test_first_token_is_the_time_of_the_prompt(readings: dict[str, Reading]) -> None:
    lengths = [len(r.prompt) for r in workload.first_token(3)]
    expected = PREFILL_SECONDS * sorted(lengths)[1]
    assert expected * 0.95 < readings["first_token"].value < expected * 1.5


def test_batch_speed_counts_the_tokens_of_all_answers(readings: dict[str, Reading]) -> None:
    requests = workload.batch()
    seconds = PREFILL_SECONDS * sum(len(r.prompt) for r in requests) + DECODE_SECONDS * 32
    expected = 32 * len(requests) / seconds
    assert readings["batch_speed"].value == pytest.approx(expected, rel=0.3)


def test_repeated_readings_carry_their_range(readings: dict[str, Reading]) -> None:
    for name in ("first_token", "decode_speed", "prefill_speed"):
        r = readings[name]
        assert r.low is not None
        assert r.high is not None
        assert r.low <= r.value <= r.high


def test_a_model_that_says_nothing_has_no_speed() -> None:
    found = timing.measure(SilentModel)
    assert found.keys() == {"load_time", "peak_memory", "prefill_speed"}


def test_slow_models_are_not_timed_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_BUDGET_SECONDS", 0.0)
    asked: list[Request] = []

    class Counting(FakeModel):
        def clip(self, request: Request) -> Request:
            asked.append(request)
            return request

    timing.measure(Counting)
    first = {request.prompt for request in workload.first_token(3)}
    assert sum(request.prompt in first for request in asked) == 1


def test_child_answers(tmp_path: Path) -> None:
    assert probe.measure_model(tmp_path / "model").keys() == UNITS.keys()


def test_peak_memory_is_the_childs_own(tmp_path: Path) -> None:
    here = bytearray(400_000_000)  # ru_maxrss of a child would inherit this
    here[::4096] = b"x" * len(here[::4096])
    small = probe.measure_model(tmp_path / "model")["peak_memory"].value
    large = probe.measure_model(tmp_path / "large")["peak_memory"].value
    assert small < 120e6
    assert large - small == pytest.approx(150e6, rel=0.15)


def test_arguments_reach_the_loader(tmp_path: Path) -> None:
    given = {"threads": 3, "isa": "avx2", "dtype": "bfloat16", "kv_cache": "int8"}
    with pytest.raises(InputError, match=r"^3 avx2 bfloat16 int8 99 False$"):
        probe.measure_model(tmp_path / "arguments", **given, cache_bytes=99)


def test_what_libraries_print_does_no_harm(tmp_path: Path) -> None:
    assert "decode_speed" in probe.measure_model(tmp_path / "noisy")


def test_a_model_that_cannot_be_loaded_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing: there is no such model\.$"):
        probe.measure_model(tmp_path / "missing")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_child_that_dies_is_a_resource_error(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="signal 9"):
        probe.measure_model(tmp_path / "crash")


def test_a_child_that_fails_is_quoted(tmp_path: Path) -> None:
    told = r"code 1: ZeroDivisionError: the words of a defect$"
    with pytest.raises(ResourceError, match=told):
        probe.measure_model(tmp_path / "defect")


def test_a_child_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="more than 1 s"):
        probe.measure_model(tmp_path / "slow", timeout=1.0)


def test_a_foreign_lichen_in_the_current_folder_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lichen").mkdir()
    (tmp_path / "lichen" / "__init__.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert "load_time" in probe.measure_model(tmp_path / "model")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lichen.measure import probe;"
        f"probe.LOADER = {probe.LOADER!r}; probe.measure_model(Path(sys.argv[1]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "slow")])
    (child,) = wait_for(lambda: children_of(parent.pid))
    parent.kill()
    parent.wait()
    wait_for(lambda: not Path(f"/proc/{child}").exists())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_ctrl_c_while_the_child_starts_leaves_no_thread_that_keeps_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(threading.Timer):
        def start(self) -> None:
            super().start()
            raise KeyboardInterrupt

    monkeypatch.setattr(threading, "Timer", Interrupted)
    before = children_of(os.getpid())
    with pytest.raises(KeyboardInterrupt):
        probe.measure_model(tmp_path / "slow", timeout=30.0)
    assert [t for t in threading.enumerate() if isinstance(t, Interrupted) and not t.daemon] == []
    assert children_of(os.getpid()) <= before


def children_of(parent: int) -> set[int]:
    """The processes that a process started and that are still there."""
    return set(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def wait_for(found: Callable[[], T]) -> T:
    deadline = time.monotonic() + 10
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value
