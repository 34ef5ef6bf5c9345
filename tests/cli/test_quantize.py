"""``lichen quantize``: what it says before and after, and what it repeats of another folder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tests.quantize.test_calibrated import RECIPES, TEXT
from tests.tiny import write_tiny_model, write_weights

from lichen.calibration import standard_library
from lichen.cli.main import run
from lichen.quantize import existing

DOWN = "model.layers.0.mlp.down_proj"
ZEROS = """
[[layers]]
match = "*.layers.*"
weights = { bits = 4, symmetric = false }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a text, a recipe that looks at it, and the folder that it makes."""
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "tiny")
    (folder / "words.txt").write_text(TEXT.documents[0])
    (folder / "mine.toml").write_text(RECIPES["gptq"].text)
    assert run(words(folder, "--recipe", folder / "mine.toml", out=folder / "old")) == 0
    return folder


def words(place: Path, *more: object, out: Path, model: str | Path = "tiny") -> list[str]:
    line = ["quantize", place / model, "--calibration", place / "words.txt", "--out", out, *more]
    return list(map(str, line))


def test_it_says_what_to_expect_and_what_came(place, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(words(place, "--recipe", place / "mine.toml", out=out)) == 0
    shown = capsys.readouterr()
    made = existing(out)
    assert re.search(
        r"^about 0 MB, [\d.]+ bits per weight, 4\.50 in the quantized ", shown.err, re.M
    )
    report, seen = shown.out.splitlines()
    assert re.fullmatch(
        re.escape(
            f"{out}: 14 layers by mine, {made.source.bytes / 1e6:.0f} MB -> {made.bytes / 1e6:.0f}"
            f" MB, {made.bits_per_weight:.2f} bits per weight (4.50 in the quantized layers), "
        )
        + r"\d+ s",
        report,
    )
    assert seen == "inputs seen on 4 x 64 tokens of words.txt"


def test_as_much_text_is_seen_as_was_asked_for(place, tmp_path, capsys):
    size = ["--calibration-sequences", "3", "--calibration-length", "48"]
    line = words(place, "--recipe", place / "mine.toml", *size, out=tmp_path / "out")
    assert run(line) == 0
    assert "inputs seen on 3 x 48 tokens" in capsys.readouterr().out
    seen = existing(tmp_path / "out").calibration
    assert (seen.sequences, seen.length, seen.name) == (3, 48, "words.txt")


def test_the_standard_library_is_seen_where_no_text_is_given(place, tmp_path):
    line = ["quantize", place / "tiny", "--recipe", place / "mine.toml", "--out", tmp_path / "out"]
    assert run(list(map(str, line))) == 0
    seen, library = existing(tmp_path / "out").calibration, standard_library()
    assert (seen.name, seen.sha256) == (library.name, library.sha256)


@pytest.mark.parametrize(
    "given",
    [["--recipe", "int8"], ["--calibration-sequences", "4"], ["--calibration-length", "64"]],
    ids=lambda given: given[0],
)
def test_what_a_folder_says_is_not_said_beside_like(place, tmp_path, capsys, given):
    assert run(words(place, "--like", place / "old", *given, out=tmp_path / "out")) == 2
    assert f"leave {given[0]} out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def changes_told(
    place: Path, out: Path, capsys: pytest.CaptureFixture[str], model: str | Path
) -> list[str]:
    """What is told of a model by the recipe of the old folder, after what is told of any."""
    assert run(words(place, "--like", place / "old", out=out, model=model)) == 0
    return capsys.readouterr().out.splitlines()[2:]


def test_the_same_model_is_told_to_be_the_same(place, tmp_path, capsys):
    size = f"{existing(place / 'old').bytes / 1e6:.1f} MB"
    assert changes_told(place, tmp_path / "new", capsys, "tiny") == [
        "the model is the one that the old folder was made from",
        f"size: {size} -> {size}",
        "layers with an error more than a tenth larger: 0",
    ]


def test_layers_that_lose_more_than_before_are_told_with_their_errors(place, tmp_path, capsys):
    shutil.copytree(place / "tiny", tmp_path / "newer")
    weights = load_file(tmp_path / "newer" / "model.safetensors")
    weights[f"{DOWN}.weight"][:, ::32] *= 8  # an outlier in every group coarsens the others
    write_weights(tmp_path / "newer", weights)
    source, _, count, layer = changes_told(place, tmp_path / "new", capsys, tmp_path / "newer")
    assert source == "source: tiny, float32 safetensors -> newer, float32 safetensors"
    assert count == "layers with an error more than a tenth larger: 1"
    before, after = (error_of(DOWN, folder) for folder in (place / "old", tmp_path / "new"))
    assert layer == f"  {DOWN}  {before:.3g} -> {after:.3g}"
    assert after > 2 * before


def error_of(layer: str, folder: Path) -> float:
    return next(each.error for each in existing(folder).layers if each.name == layer)


def test_layers_that_come_and_go_are_told_by_name(place, tmp_path, capsys):
    write_tiny_model(tmp_path / "longer", layers=3)
    told = changes_told(place, tmp_path / "new", capsys, tmp_path / "longer")
    news = next(line for line in told if line.startswith("new layers: "))
    assert news.count("model.layers.2.") == news.count("model.layers.") == 7
    write_tiny_model(tmp_path / "shorter", layers=1)
    told = changes_told(place, tmp_path / "short", capsys, tmp_path / "shorter")
    gone = next(line for line in told if line.startswith("gone layers: "))
    assert gone.count("model.layers.1.") == gone.count("model.layers.") == 7


def test_a_folder_that_transformers_cannot_use_is_told_so(place, tmp_path, capsys):
    (tmp_path / "zeros.toml").write_text(ZEROS)
    line = words(place, "--recipe", tmp_path / "zeros.toml", out=tmp_path / "out")
    assert run([*line, "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["not_for_transformers"] == ["packed zero points"]
    assert "transformers cannot use this folder, lichen can: it has packed zero points" in shown.err
    assert run(words(place, "--recipe", "int8", "--json", out=tmp_path / "int8")) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["not_for_transformers"] == []
    assert "transformers" not in shown.err


def test_help_claims_only_readers_that_are_tested(capsys):
    assert run(["quantize", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "transformers loads it, which is tested for every preset; vLLM was not tried." in told
