"""What a kill, a full disk, a second run or a late refusal leave behind: all of it, or nothing."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.quantize.test_calibrated import RECIPES, SIZE, TEXT
from tests.quantize.test_pipeline import INT8, set_weight, snapshot
from tests.tiny import write_tiny_model

import lichen.quantize as pipeline
from lichen.checkpoint.atomic import AtomicFolder
from lichen.errors import InputError, ResourceError
from lichen.quantize import quantize
from lichen.quantize.calibrated import _live_bytes
from lichen.recipe import parse_recipe

DIRECT = '[[layers]]\nmatch = "*.layers.*"\nweights = { bits = 4 }\nsolver = "mse"\n'
BUDGET = """
bits = 4.7
[calibration]
sequences = 4
length = 64
[[layers]]
match = "*.layers.*"
choices = [{ bits = 3 }, { bits = 4 }, { bits = 6 }]
solver = "gptq"
"""
KILLED = {"direct": DIRECT, "gptq": RECIPES["gptq"].text, "budget": BUDGET}

_RUN = """
import sys, time
from pathlib import Path
from lichen.quantize import calibrated, choosing, quantize
from lichen.recipe import load_recipe
from lichen.code_text import from_path
model, recipe, text, out = map(Path, sys.argv[1:])
print("ready", flush=True)
start = time.monotonic()
quantize(model, load_recipe(recipe), out, calibration=from_path(text))
print(time.monotonic() - start)
"""


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_tiny_model(tmp_path / "tiny", layers=3)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".*")]


# --- killed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", KILLED.values(), ids=KILLED)
def test_killed_ten_times_the_bytes_are_the_same(tmp_path, text):
    shape = {"hidden": 256, "intermediate": 512, "heads": 8, "head_dim": 32, "layers": 4}
    tiny = write_tiny_model(tmp_path / "tiny", **shape)
    recipe, words, out = tmp_path / "mine.toml", tmp_path / "words.txt", tmp_path / "out"
    recipe.write_text(text)
    words.write_text(TEXT.documents[0])
    command = [sys.executable, "-c", _RUN, *map(str, (tiny, recipe, words))]
    whole = subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    seconds = float(whole.stdout.split()[-1])
    expected = snapshot(tmp_path / "whole")
    moments, kills = random.Random(0), 0
    while kills < 10:
        kills += killed([*command, str(out)], moments.uniform(0, seconds))
        if out.exists():  # and begin anew, for another kill
            assert snapshot(out) == expected
            shutil.rmtree(out)
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    assert snapshot(out) == expected
    assert not hidden(tmp_path)


def killed(command: list[str], seconds: float) -> bool:
    """Kill a run after so long a time, not counting its start; whether it was still at work."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        time.sleep(seconds)
        child.kill()
        return child.wait() == -signal.SIGKILL


# --- a full disk -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["direct", "gptq"])
def test_a_full_disk_is_one_clear_error_and_can_be_gone_on_from(tiny, tmp_path, kind):
    """The disk is full for whoever writes a file of more than 220 KB, as the last one is."""
    recipe, words = tmp_path / "mine.toml", tmp_path / "words.txt"
    recipe.write_text(KILLED[kind])
    words.write_text(TEXT.documents[0])
    command = [sys.executable, "-m", "lichen", "quantize", str(tiny), "--recipe", str(recipe)]
    command += ["--calibration", str(words), "--out", str(tmp_path / "out")]
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (220_000, 220_000))
    full = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert full.returncode == 4
    *_, error = full.stderr.splitlines()
    assert error.startswith("lichen: error: ")
    assert "the disk is full; free some space and run" in error
    assert not (tmp_path / "out").exists()
    assert hidden(tmp_path) == ([".out.unfinished"] if kind == "gptq" else [])
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("going on after 3 whole weight files" in again.stderr) == (kind == "gptq")
    command[-1] = str(tmp_path / "fresh")
    subprocess.run(command, capture_output=True, check=True)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")


def test_what_is_written_already_needs_no_space_again(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9, pipeline._SMALL_FILES_BYTES + 1000)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceError):
        pipeline.require_space(tmp_path, 5000)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(bytes(4500))
    pipeline.require_space(tmp_path, 5000)


def test_what_is_saved_to_go_on_with_needs_space_too(tiny):
    work = pipeline.Assignment(pipeline.open_checkpoint(tiny), RECIPES["gptq"])
    assert _live_bytes(work, [np.zeros(64, np.int32)] * 4) == 2 * 2 * 4 * 64 * 64 * 4


# --- somebody else ---------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [INT8, RECIPES["gptq"]], ids=["direct", "gptq"])
def test_a_second_run_is_refused_while_the_first_is_at_work(tiny, tmp_path, recipe):
    out = tmp_path / "out"
    refused = []

    def meanwhile(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(InputError, match="another lichen is writing it") as caught:
                quantize(tiny, recipe, out, calibration=TEXT, force=True)
            refused.append(caught)

    quantize(tiny, recipe, out, calibration=TEXT, progress=meanwhile)
    quantize(tiny, recipe, tmp_path / "alone", calibration=TEXT)
    assert refused
    assert snapshot(out) == snapshot(tmp_path / "alone")


def test_what_appears_at_the_target_meanwhile_is_kept(tiny, tmp_path):
    out = tmp_path / "out"

    def meanwhile(done: int, total: int) -> None:
        out.mkdir(exist_ok=True)
        (out / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="not empty"):
        quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, progress=meanwhile)
    assert snapshot(out) == {"notes.txt": b"mine"}
    shutil.rmtree(out)
    told = []
    quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, say=told.append)
    assert any("going on after" in line for line in told), "what was done is not lost"


# --- refused late ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["model.layers.2.mlp.down_proj", "lm_head"])
def test_weights_that_are_not_finite_leave_nothing_to_go_on_with(tmp_path, layer):
    tiny = write_tiny_model(tmp_path / "tiny", layers=3, tied=False)
    set_weight(tiny, f"{layer}.weight", np.nan)
    with pytest.raises(InputError, match=f"{layer}.weight"):
        quantize(tiny, RECIPES["gptq"], tmp_path / "out", calibration=TEXT)
    assert not hidden(tmp_path)
    set_weight(tiny, f"{layer}.weight", 0.5)
    quantize(tiny, RECIPES["gptq"], tmp_path / "out", calibration=TEXT)


@pytest.mark.filterwarnings("ignore:overflow")
def test_inputs_that_are_not_finite_name_their_layer(tiny, tmp_path):
    set_weight(tiny, "model.layers.1.mlp.up_proj.weight", 1e18)
    set_weight(tiny, "model.layers.1.mlp.gate_proj.weight", 1e18)
    with pytest.raises(InputError, match=r"layers\.\d\..*_proj\.weight: inputs are not finite"):
        quantize(tiny, RECIPES["static"], tmp_path / "out", calibration=TEXT)
    assert not hidden(tmp_path)


def test_too_small_a_budget_is_refused_before_anything_is_measured(tiny, tmp_path):
    recipe = parse_recipe(BUDGET.replace("4.7", "3.1"), "mine")
    told = []
    with pytest.raises(InputError, match="less than the smallest formats take"):
        quantize(
            tiny,
            recipe,
            tmp_path / "out",
            calibration=TEXT,
            progress=lambda *at: told.append(at),
        )
    assert not told
    assert not hidden(tmp_path)


def test_a_missing_weight_file_of_the_beginning_means_a_new_beginning(tiny, tmp_path):
    out = tmp_path / "out"

    def strike(done: int, total: int) -> None:
        if list(tmp_path.glob(".out.unfinished/state.json")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, progress=strike)
    [first] = tmp_path.glob(".out.unfinished/*.safetensors")
    first.unlink()
    quantize(tiny, RECIPES["gptq"], out, calibration=TEXT)
    quantize(tiny, RECIPES["gptq"], tmp_path / "fresh", calibration=TEXT)
    assert snapshot(out) == snapshot(tmp_path / "fresh")


def test_a_folder_left_between_two_renames_is_not_left_for_long(tmp_path):
    for name in (".out.old", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with AtomicFolder(tmp_path / "out", force=True) as folder:
        (folder / "file").write_text("new")
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert not hidden(tmp_path)


def test_the_size_of_calibration_is_said_in_the_recipe(tiny, tmp_path):
    with pytest.raises(InputError, match=r"calibration\.sequences is 0"):
        parse_recipe(SIZE.replace("4", "0", 1) + RECIPES["static"].text[len(SIZE) :], "mine")
