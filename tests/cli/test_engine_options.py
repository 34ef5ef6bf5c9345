"""Options of the engine: a cache of any size, and what its number format costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import write_tiny_model

from lichen.cli.main import run

VERBS = {"generate": ["--prompt", "def f(", "--max-tokens", "2"], "bench": ["--quick"]}
EACH = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("options") / "tiny"))


@EACH
@pytest.mark.parametrize("size", ["inf", "nan", "1e300", "1e-10"])
def test_what_is_no_number_of_bytes_is_refused_at_once(
    model: str,
    verb: str,
    size: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def too_late(*_: Any, **__: Any) -> None:
        pytest.fail("the machine is measured, or a model loaded")

    monkeypatch.setattr("lichen.measure.measure_limits", too_late)
    monkeypatch.setattr("lichen.loading.open_checkpoint", too_late)
    assert run([verb, model, *VERBS[verb], "--cache-gb", size]) == 2
    shown = capsys.readouterr()
    [line] = shown.err.splitlines()
    assert line.startswith("lichen: error: the key-value cache (--cache-gb) cannot have ")
    assert f"{float(size):g} GB" in line
    assert shown.out == ""


@EACH
def test_more_than_there_is_is_a_failure(
    model: str, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lichen.measure.measure_limits", lambda **_: {})
    assert run([verb, model, *VERBS[verb], "--cache-gb", "1e6"]) == 4
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "cache 1e+06 GB, but only" in line
    assert "defect" not in line


def test_one_model_twice_tells_what_the_cache_costs(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.py"
    text.write_text("def f(x):\n    return [x * n for n in range(x)]\n" * 8)

    def kld(*options: str) -> float:
        line = ["divergence", model, model, "--text", str(text), "--threads", "1", *options]
        assert run([*line, "--json"]) == 0
        found: float = json.loads(capsys.readouterr().out)["kld_mean"]
        return found

    assert kld("--kv-cache", "int8") == 0
    assert 1e-7 < kld("--reference-kv-cache", "float32", "--kv-cache", "int8") < 1e-2
