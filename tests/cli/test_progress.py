"""Progress without a terminal: few lines, with the time left."""

from __future__ import annotations

import pytest

from lichen.cli import progress


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_lines_come_now_and_then_and_tell_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress.TerminalProgress().step("Work") as update:
        for done in range(41):
            clock.now = done * 1.0
            update(done, 40)
    assert capsys.readouterr().err.splitlines() == [
        "Work: 15 of 40, about 25 s left",
        "Work: 30 of 40, about 10 s left",
        "Work: 40 done in 40 s",
    ]


def test_what_an_earlier_run_did_is_not_taken_for_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress.TerminalProgress().step("Work") as update:
        update(70, 100)
        clock.now = 20
        update(85, 100)
    assert capsys.readouterr().err.splitlines()[0] == "Work: 85 of 100, about 20 s left"


def test_bytes_are_told_as_a_share(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress.TerminalProgress().step("Fetching") as update:
        update(0, 1_000_000_000)
        clock.now = 7_300
        update(500_000_000, 1_000_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "Fetching: 50%, about 2 h 1 min left",
        "Fetching done in 2 h 1 min",
    ]


def test_a_step_that_fails_is_not_told_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"), progress.TerminalProgress().step("Work"):
        raise ValueError("x")
    assert capsys.readouterr().err == ""
