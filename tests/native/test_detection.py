"""``LICHEN_ISA``: whom it reaches, and what is refused."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.tiny import write_tiny_model

from lichen import _core, loading, self_check
from lichen.cli.main import run
from lichen.engine.machine import choose_isa
from lichen.errors import InputError

SUPPORTED = _core.supported_isas()
#: A name that nobody knows, and one that is right for processors of the other kind only.
WRONG = ["pentium", "avx2" if "neon" in SUPPORTED else "neon"]


def test_the_best_set_is_the_default_and_an_argument_goes_before_the_environment() -> None:
    assert choose_isa(environment={}) == SUPPORTED[-1]
    assert choose_isa(environment={"LICHEN_ISA": ""}) == SUPPORTED[-1]
    for isa in SUPPORTED:
        assert choose_isa(environment={"LICHEN_ISA": isa}) == isa
        assert choose_isa(isa, environment={"LICHEN_ISA": "pentium"}) == isa


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_set_is_refused_with_what_there_is(name: str) -> None:
    for arguments in ({"wanted": name}, {"environment": {"LICHEN_ISA": name}}):
        with pytest.raises(InputError) as refused:
            choose_isa(**arguments)  # type: ignore[arg-type]
        assert repr(name) in str(refused.value)
        assert ", ".join(SUPPORTED) in str(refused.value)


def test_the_engine_runs_with_the_set_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    engine = Mock(wraps=loading.Engine)
    monkeypatch.setattr(loading, "Engine", engine)
    for isa in {SUPPORTED[0], SUPPORTED[-1]}:
        monkeypatch.setenv("LICHEN_ISA", isa)
        loading.load(folder, threads=1)
        assert engine.call_args.kwargs["isa"] == isa


def test_the_doctor_says_what_was_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LICHEN_ISA", "portable")
    # Which takes half a minute there, and is tests/test_self_check.py's.
    monkeypatch.setattr(self_check, "batch_invariance", lambda isa: {isa: True})
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{'instruction set':<18} portable" in lines
    assert f"{'instruction sets':<18} {', '.join(SUPPORTED)}" in lines


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_set_is_one_message_at_the_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LICHEN_ISA", name)
    assert run(["doctor"]) == InputError.exit_code
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith(f"lichen: error: instruction set {name!r} cannot run here")
    assert shown.out == ""
