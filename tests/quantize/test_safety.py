"""What a kill, a full disk, a second run or a late refusal leave behind: all of it, or nothing."""

from __future__ import annotations

import json
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
from lichen.checkpoint import atomic
from lichen.checkpoint.atomic import AtomicFolder
from lichen.errors import InputError, ResourceError
from lichen.quantize import quantize
from lichen.quantize.calibrated import _live_bytes, _weight_bytes
from lichen.quantize.unfinished import UnfinishedFolder, Unit
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


def test_too_small_a_disk_is_noticed_before_text_is_read(tiny, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9, 1000)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda _: usage)
    before, told = sorted(tmp_path.iterdir()), []
    with pytest.raises(ResourceError, match=r"needs \d+ MB, but .* 0 MB free"):
        quantize(
            tiny,
            RECIPES["gptq"],
            tmp_path / "out",
            calibration=TEXT,
            progress=lambda *at: told.append(at),
        )
    assert not told
    assert sorted(tmp_path.iterdir()) == before


def test_a_budget_asks_for_the_space_that_it_may_take(tiny, tmp_path):
    """Not for that of all layers in their largest formats; and folders keep to it."""
    work = pipeline.Assignment(pipeline.open_checkpoint(tiny), parse_recipe(BUDGET, "mine"))
    chosen = [work.linears[layer] for layer in work.choices]
    weights, most = sum(map(work.count, chosen)), sum(map(work.stored_bits, chosen))
    saved = work.predicted_bytes() - _weight_bytes(work)
    assert saved == pytest.approx((most - 4.7 * weights) / 8, abs=2)
    made = quantize(tiny, work.recipe, tmp_path / "out", calibration=TEXT).manifest
    assert made.predicted_bytes <= _weight_bytes(work)
    rich = parse_recipe(BUDGET.replace("4.7", "30"), "mine")
    work = pipeline.Assignment(pipeline.open_checkpoint(tiny), rich)
    assert _weight_bytes(work) == work.predicted_bytes()


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


def test_ctrl_c_before_the_folder_has_its_name_costs_nothing(tiny, tmp_path, monkeypatch):
    """At the last flush, when every weight file is there."""
    out, told = tmp_path / "out", []

    def strike(folder: Path) -> None:
        assert (folder / "lichen.json").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "flush", strike)
    with pytest.raises(KeyboardInterrupt):
        quantize(tiny, RECIPES["gptq"], out, calibration=TEXT)
    monkeypatch.undo()
    assert not out.exists()
    quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, say=told.append)
    assert any("going on after" in line for line in told), "what was done is not lost"
    quantize(tiny, RECIPES["gptq"], tmp_path / "alone", calibration=TEXT)
    assert snapshot(out) == snapshot(tmp_path / "alone")


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


def begin(tiny: Path, out: Path) -> Path:
    """Interrupt a run when its first block is saved; the folder that it leaves beside ``out``."""
    unfinished = out.with_name(f".{out.name}.unfinished")

    def strike(done: int, total: int) -> None:
        if (unfinished / "state.json").is_file():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, progress=strike)
    return unfinished


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("spoil", [Path.unlink, shorten], ids=["missing", "cut-off"])
@pytest.mark.parametrize("kind", ["*.safetensors", "live-*.npy"], ids=["weights", "values"])
def test_a_file_of_the_beginning_that_is_not_as_it_was_means_a_new_one(tiny, tmp_path, kind, spoil):
    out, told = tmp_path / "out", []
    [file, *_] = begin(tiny, out).glob(kind)
    spoil(file)
    quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, say=told.append)
    assert f"{file.name} is not as it was written, so all blocks are made anew" in told
    quantize(tiny, RECIPES["gptq"], tmp_path / "fresh", calibration=TEXT)
    assert snapshot(out) == snapshot(tmp_path / "fresh")


def test_what_was_measured_is_kept_where_weights_are_made_anew(tmp_path):
    marks = [UnfinishedFolder(tmp_path / "out", "mark") for _ in range(2)]
    with pytest.raises(KeyboardInterrupt), marks[0] as folder:
        (folder / "a").write_bytes(bytes(10))
        marks[0].state.sensitivity["layer"] = 0.5
        marks[0].state.units = [Unit(file="a", tensors=[], bytes=10, layers=[], narrowed=[])]
        marks[0].save()
        (folder / "a").write_bytes(bytes(9))
        marks[0].save()  # must not take the file for what was written
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), marks[1]:
        assert (marks[1].spoilt, marks[1].state.units) == ("a", [])
        assert marks[1].state.sensitivity == {"layer": 0.5}
        raise KeyboardInterrupt


def without_sizes(state: bytes) -> bytes:
    return json.dumps({k: v for k, v in json.loads(state).items() if k != "sizes"}).encode()


STATES = {"older": without_sizes, "newer": lambda _: b'{"units": {}}', "no-json": lambda _: b"\xff"}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_a_beginning_that_cannot_be_read_is_refused_and_kept(tiny, tmp_path, change):
    out = tmp_path / "out"
    unfinished = begin(tiny, out)
    state = unfinished / "state.json"
    state.write_bytes(change(state.read_bytes()))
    before = snapshot(unfinished)
    with pytest.raises(InputError, match=r"state\.json that cannot be read.*--force to discard it"):
        quantize(tiny, RECIPES["gptq"], out, calibration=TEXT)
    assert snapshot(unfinished) == before
    quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, force=True)
    assert not hidden(tmp_path)


def test_what_was_discarded_is_not_in_the_way_of_the_next_run(tmp_path):
    for mark, force in (("one", False), ("two", True)):
        run = UnfinishedFolder(tmp_path / "out", mark, force=force)
        with pytest.raises(KeyboardInterrupt), run:
            assert not run.begun
            run.state.sensitivity["layer"] = 0.5
            if mark == "two":  # killed before it has anything to save
                assert not list(tmp_path.glob(".out.unfinished/*"))
            run.save()
            raise KeyboardInterrupt


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
