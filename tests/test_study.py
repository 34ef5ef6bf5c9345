"""bench/study.py: the grid fits a model, figures are kept, and the claims say what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from bench.studying.claims import claims
from bench.studying.grid import FAMILIES, PRESETS, Cell, cells
from bench.studying.measuring import Row, Study, _slug
from bench.studying.page import write_page
from tests.tiny import write_tiny_model

from lichen.checkpoint import open_checkpoint
from lichen.quantize.assignment import Assignment
from lichen.recipe import Rule, load_recipe, parse_recipe, presets

INT8 = Cell("bits", "int8", '[[layers]]\nmatch = "*"\nweights = { bits = 8 }\n')


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny", hidden=128, intermediate=256, heads=4, head_dim=32)


def rows(**klds: float) -> list[Row]:
    """Figures of recipes: their names with _ for blanks, and their divergence."""
    return [
        Row(family="bits", name=name.replace("_", " "), digest="", kld=kld, bits=8)
        for name, kld in klds.items()
    ]


def test_every_recipe_of_the_grid_fits_a_model(model: Path) -> None:
    source = open_checkpoint(model)
    for cell in cells(FAMILIES):
        assert Assignment(source, parse_recipe(cell.text, cell.name)).to_quantize or (
            cell.name == "mixed"
        ), f"{cell.family}: {cell.name} quantizes nothing"


def test_no_recipe_of_the_grid_takes_the_place_of_another() -> None:
    grid = cells(FAMILIES)
    assert len({_slug(cell) for cell in grid}) == len(grid)


def test_a_preset_with_inputs_in_floats_is_else_the_same() -> None:
    [cell] = [cell for cell in cells(["activations"]) if cell.name.startswith("preset int4")]
    floats, preset = parse_recipe(cell.text, "floats"), load_recipe("int4")
    assert all(isinstance(rule, Rule) and rule.activations for _, rule in preset.rules)
    assert floats.rules == tuple(
        (pattern, replace(rule, activations=None))
        for pattern, rule in preset.rules
        if isinstance(rule, Rule)
    )


def test_every_preset_is_studied() -> None:
    assert set(PRESETS) == set(presets())


@pytest.mark.parametrize(
    ("figures", "claim"),
    [
        (
            {"int8_inputs_static_mse": 0.3, "int8_inputs_per_token": 0.02},
            "Confirmed: dynamic activations beat static ones",
        ),
        (
            {"int8_inputs_static_mse": 0.01, "int8_inputs_per_token": 0.02},
            "Refuted: dynamic activations beat static ones",
        ),
        (
            {"int8_inputs_in_floats": 0.004, "int8_inputs_per_token": 0.02},
            "Confirmed: activations are more sensitive than weights",
        ),
        (
            {"int8_inputs_in_floats": 0.015, "int8_inputs_per_token": 0.02},
            "Refuted: activations are more sensitive than weights",
        ),
        (
            {"int4": 0.052, "preset int4, inputs in floats": 0.05},
            "Confirmed: beside weights of 4 bits, inputs of 8 bits cost at most 5%",
        ),
        (
            {"int4": 0.053, "preset int4, inputs in floats": 0.05},
            "Refuted: beside weights of 4 bits, inputs of 8 bits cost at most 5%",
        ),
        (
            {f"int3 gptq, {n} x 512 code": kld for n, kld in ((4, 0.2), (16, 0.21), (32, 0.2))},
            "Confirmed: calibration size matters little",
        ),
        (
            {f"int3 gptq, {n} x 512 code": kld for n, kld in ((4, 0.3), (16, 0.2), (32, 0.2))},
            "Refuted: calibration size matters little",
        ),
        (
            {"int3 gptq, 32 x 512 code": 0.2, "int3 gptq, 32 x 512 prose": 0.3},
            "Confirmed: code calibration beats prose",
        ),
        (
            {"int3 gptq, 32 x 512 code": 0.3, "int3 gptq, 32 x 512 prose": 0.2},
            "Refuted: code calibration beats prose",
        ),
        ({"mixed": 0.08, "uniform 4.25 bits, gptq": 0.1}, "Confirmed: bits spent by sensitivity"),
        ({"mixed": 0.11, "uniform 4.25 bits, gptq": 0.1}, "Refuted: bits spent by sensitivity"),
        ({"int8_inputs_per_token": 0.02, "alpha_0.5": 0.01}, "Confirmed: smoothing helps int8"),
        ({"int8_inputs_per_token": 0.02, "alpha_0.5": 0.03}, "Refuted: smoothing helps int8"),
    ],
)
def test_a_claim_is_what_the_figures_say(figures: dict[str, float], claim: str) -> None:
    said = list(claims(rows(**figures)))
    assert len(said) == 1
    assert said[0].startswith(claim), said[0]


def test_a_claim_needs_all_its_figures() -> None:
    assert not list(claims(rows(int8_inputs_per_token=0.02)))
    failed = [msgspec.structs.replace(row, fault="no disk") for row in rows(mixed=0.1)]
    assert not list(claims([*failed, *rows(**{"uniform 4.25 bits, gptq": 0.1})]))


def test_figures_are_measured_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    monkeypatch.setattr(Study, "_measure", _noting(measured, fault=""))
    for _ in range(2):
        with Study(model, tmp_path / "out", tasks=0, threads=1) as study:
            assert [row.kld for row in study.rows([INT8])] == [0.5]
    assert measured == ["int8"]
    with Study(model, tmp_path / "out", tasks=0, threads=1) as study:
        study.rows([replace(INT8, text=f"{INT8.text}# another\n")])
    assert measured == ["int8", "int8"], "another recipe took over the figures of the first"


def test_what_failed_is_tried_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(Study, "_measure", _noting(measured, fault="the disk is full"))
    for _ in range(2):
        with Study(model, tmp_path / "out", tasks=0, threads=1) as study:
            study.rows([INT8])
    assert measured == ["int8", "int8"]


def test_another_model_is_measured_anew(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(Study, "_measure", _noting(measured, fault=""))
    other = write_tiny_model(tmp_path / "other", seed=1)
    for path in (model, other):
        with Study(path, tmp_path / "out", tasks=0, threads=1) as study:
            study.rows([INT8])
    assert measured == ["int8", "int8"]


def _noting(measured: list[str], fault: str):  # type: ignore[no-untyped-def]
    def measure(study: Study, cell: Cell) -> Row:
        measured.append(cell.name)
        return Row(
            family=cell.family, name=cell.name, digest=study._digest(cell), kld=0.5, fault=fault
        )

    return measure


def test_a_study_of_a_model(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    twisted = replace(INT8, name="nonsense", text=INT8.text.replace("8", "9"))
    with Study(model, out, tasks=0, threads=1) as study:
        good, bad = study.rows([INT8, twisted])
    assert good.fault == ""
    assert 0 < good.kld < 0.1
    assert 8 < good.bits < 9
    assert 0 < good.error < 1e-3
    assert min(good.decode, good.seconds, good.peak_megabytes, good.megabytes) > 0
    assert "bits" in bad.fault, "what was wrong with the recipe is lost"
    assert not (out / "model").exists(), "the quantized model is left behind"
    write_page(out, model, [good, bad])
    text = (out / "study.md").read_text()
    assert f"| int8 | {good.bits:.2f} |" in text
    assert "![Divergence against bits per weight](study-divergence.svg)" in text
    assert bad.fault in text
    assert json.loads((out / "study.json").read_text())[0]["name"] == "int8"
    page = (out / "study.html").read_text()
    assert page.count("<svg") == 1
    assert "KL divergence" in page


def test_a_page_without_figures_says_what_failed(model: Path, tmp_path: Path) -> None:
    failed = [msgspec.structs.replace(row, fault="the disk is full") for row in rows(int8=0)]
    write_page(tmp_path, model, failed)
    assert "the disk is full" in (tmp_path / "study.md").read_text()


def test_presets_have_plots_of_speed_and_of_solved_tasks(model: Path, tmp_path: Path) -> None:
    [row] = rows(int4=0.05)
    preset = msgspec.structs.replace(row, family="presets", decode=60, passed=70, tasks=164)
    write_page(tmp_path, model, [preset])
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        "study-divergence.svg",
        "study-speed.svg",
        "study-solved.svg",
    }
    assert "70/164" in (tmp_path / "study.md").read_text()
