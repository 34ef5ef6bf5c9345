"""Recipes that see inputs: what they write, that it repeats, and that it goes on after a stop."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.engine.test_walk import Recorder
from tests.quantize.test_pipeline import our_logits, set_weight, snapshot
from tests.quantized import IN_GROUPS, SHARED_TABLE, stored_tensors
from tests.tiny import write_tiny_model

from lichen import calibration, models
from lichen import graph as ops
from lichen.checkpoint import open_checkpoint
from lichen.code_text import CodeText
from lichen.engine.variants import Variant
from lichen.errors import InputError
from lichen.quantize import choosing, existing, pieces, quantize
from lichen.quantize.unfinished import UnfinishedFolder
from lichen.recipe import Calibration, load_recipe, parse_recipe
from lichen.schemes import dequantize
from lichen.tensor import QuantizedTensor
from lichen.tokenizer import Tokenizer

TEXT = CodeText("words", ("def f(x):\n    return x + 1\n" * 400,))
SEED = 1
SIZE = f"[calibration]\nsequences = 4\nlength = 64\nseed = {SEED}\n"


def recipe_of(*lines: str, weights: str = "bits = 4, group_size = 32", head: str = ""):
    text = SIZE + (head or '[[layers]]\nmatch = "lm_head"\nkeep = true\n')
    text += f'[[layers]]\nmatch = "*"\nweights = {{ {weights} }}\n' + "\n".join(lines)
    return parse_recipe(text, "mine")


STATIC = 'activations = { bits = 8, granularity = "tensor", dynamic = false, range = "mse" }'
RECIPES = {
    "gptq": recipe_of('solver = "gptq"'),
    "gptq-in-order": recipe_of('solver = "gptq"', "solver_options = { act_order = true }"),
    "awq": recipe_of('scaling = "awq"', 'solver = "mse"'),
    "smoothquant": recipe_of(
        'scaling = "smoothquant"', "activations = { bits = 8 }", weights="bits = 8"
    ),
    "static": recipe_of(STATIC, weights="bits = 8"),
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_tiny_model(tmp_path / "tiny", layers=3)


@every_recipe
@pytest.mark.parametrize("model_type", ["qwen2", "llama"])
def test_the_folder_stands_for_nearly_the_same_model(tmp_path, recipe, model_type):
    tiny = write_tiny_model(tmp_path / "tiny", model_type=model_type)
    report = quantize(tiny, recipe, tmp_path / "out", calibration=TEXT)
    made = open_checkpoint(tmp_path / "out")
    assert all(
        isinstance(made.read(name), QuantizedTensor)
        for name in made.names()
        if name.endswith("_proj.weight")
    )
    difference = our_logits(tmp_path / "out") - our_logits(tiny)
    assert 0 < np.abs(difference).mean() < 0.4 * np.abs(our_logits(tiny)).mean()
    assert existing(tmp_path / "out") == report.manifest
    assert all(layer.output_error is not None for layer in report.manifest.layers)
    seen = report.manifest.calibration
    assert seen is not None
    assert (seen.name, seen.sequences, seen.length) == ("words", 4, 64)
    assert seen.sha256 == TEXT.sha256


def test_static_inputs_have_their_scale(tiny, tmp_path):
    quantize(tiny, RECIPES["static"], tmp_path / "out", calibration=TEXT)
    made = open_checkpoint(tmp_path / "out")
    q, k, v = (
        made.read(f"model.layers.0.self_attn.{part}_proj.weight").input_scale for part in "qkv"
    )
    assert q is not None
    assert q > 0
    assert q == k == v, "they read the same input"


def largest_inputs(folder: Path) -> dict[str, float]:
    """The largest magnitude that each product reads, by its weight: the reference runs `TEXT`."""
    source = open_checkpoint(folder)
    graph, encode = models.build(source.config), Tokenizer.load(source).encode_literally
    weights = {name: source.read(name) for name, _ in graph.weights()}
    texts = calibration.sequences(TEXT, encode, count=4, length=64, seed=SEED)
    recorders = [Recorder(graph, weights, {}) for _ in texts]
    for recorder, ids in zip(recorders, texts, strict=True):
        recorder.step(ids, np.arange(len(ids), dtype=np.int32))
    return {
        node.operation.weight: max(
            float(np.abs(recorder.inputs[node.operation.x.index]).max()) for recorder in recorders
        )
        for node in graph.nodes
        if isinstance(node.operation, ops.Linear)
    }


def test_inputs_are_those_that_quantized_predecessors_give(tiny, tmp_path):
    """Weights of 2 bits, so that what follows them is not what the source has there."""
    recipe = recipe_of(STATIC.replace("mse", "absmax"), weights="bits = 2, group_size = 32")
    quantize(tiny, recipe, tmp_path / "out", calibration=TEXT)
    made, of_source = open_checkpoint(tmp_path / "out"), largest_inputs(tiny)
    for name, largest in largest_inputs(tmp_path / "out").items():
        if isinstance(weight := made.read(name), QuantizedTensor):
            assert weight.input_scale * 127.5 == pytest.approx(largest, rel=2e-3), name
            if ".layers.0." not in name:
                assert weight.input_scale * 127.5 != pytest.approx(of_source[name], rel=1e-2), name


def test_an_option_that_weighs_by_inputs_has_them_seen(tiny, tmp_path):
    def output_error(*lines: str) -> float:
        recipe = recipe_of('solver = "mse"', *lines)
        report = quantize(tiny, recipe, tmp_path / f"out-{len(lines)}", calibration=TEXT)
        made = open_checkpoint(tmp_path / f"out-{len(lines)}")
        assert isinstance(made.read("model.layers.0.mlp.down_proj.weight"), QuantizedTensor)
        return sum(layer.output_error or 0 for layer in report.manifest.layers)

    assert output_error("solver_options = { weighted = true }") > 0
    assert output_error() == 0, "without it, no text is run"


def test_scaling_goes_into_the_norm_and_the_product_before(tiny, tmp_path):
    quantize(tiny, RECIPES["awq"], tmp_path / "out", calibration=TEXT)
    before, after = open_checkpoint(tiny), open_checkpoint(tmp_path / "out")
    norm = "model.layers.1.input_layernorm.weight"
    factors = before.read(norm) / after.read(norm)
    assert (factors != 1).any()
    name = "model.layers.1.self_attn.q_proj.weight"
    scaled = before.read(name) * factors
    error = np.square(dequantize(after.read(name)) - scaled).sum() / np.square(scaled).sum()
    assert error < 0.02


@every_recipe
def test_the_same_command_writes_the_same_bytes(tiny, tmp_path, recipe):
    for name, threads in (("a", 1), ("b", 2)):
        quantize(tiny, recipe, tmp_path / name, calibration=TEXT, threads=threads)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


# --- going on after a stop -------------------------------------------------------------------


def interrupted(tiny: Path, recipe, out: Path, after: int) -> int:
    """Run until progress was told ``after`` times; how often it was told."""
    told = 0

    def strike(done: int, total: int) -> None:
        nonlocal told
        told += 1
        if told == after:
            raise KeyboardInterrupt

    try:
        quantize(tiny, recipe, out, calibration=TEXT, progress=strike)
    except KeyboardInterrupt:
        assert told == after
    return told


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_a_stop_at_any_moment_changes_nothing(tiny, tmp_path, name):
    recipe = RECIPES[name]
    steps = interrupted(tiny, recipe, tmp_path / "whole", after=10**9)
    for after in range(1, steps, 3):
        out = tmp_path / f"out-{after}"
        interrupted(tiny, recipe, out, after)
        assert not out.exists()
        quantize(tiny, recipe, out, calibration=TEXT)
        assert snapshot(out) == snapshot(tmp_path / "whole")
        assert not list(tmp_path.glob(".*")), "nothing is left beside the folder"


@pytest.mark.parametrize("tied", [False, True], ids=["two tables", "one"])
def test_an_embedding_in_pieces_is_the_same(tmp_path, monkeypatch, tied):
    tiny = write_tiny_model(tmp_path / "tiny", layers=2, tied=tied)
    head = '[embedding]\nweights = { bits = 8 }\n[[layers]]\nmatch = "lm_head"\n'
    recipe = recipe_of('solver = "gptq"', head=head + "weights = { bits = 8 }\n")
    quantize(tiny, recipe, tmp_path / "whole", calibration=TEXT)
    monkeypatch.setattr(pieces, "LARGE_ELEMENTS", 0)
    monkeypatch.setattr(pieces, "_PIECE_ELEMENTS", 700)
    read = []
    rows = pieces.read_rows
    monkeypatch.setattr(pieces, "read_rows", lambda *a: read.append(1) or rows(*a))
    quantize(tiny, recipe, tmp_path / "pieces", calibration=TEXT)
    assert snapshot(tmp_path / "pieces") == snapshot(tmp_path / "whole")
    assert len(read) > 100


def test_a_table_that_the_head_shares_has_its_scales_under_both_names(tiny, tmp_path):
    recipe, out = recipe_of('solver = "gptq"', head=SHARED_TABLE), tmp_path / "out"
    made = quantize(tiny, recipe, out, calibration=TEXT).manifest
    raw = stored_tensors(out)
    assert [name for name in raw if "lm_head" in name] == ["lm_head.weight_scale"]
    scales = raw["lm_head.weight_scale"], raw["model.embed_tokens.weight_scale"]
    np.testing.assert_array_equal(*scales)
    assert open_checkpoint(out).read("model.embed_tokens.weight").activations == IN_GROUPS
    shapes = sum(part.nbytes for name, part in raw.items() if name.endswith("_shape"))
    assert made.predicted_bytes == sum(part.nbytes for part in raw.values()) - shapes
    assert interrupted(tiny, recipe, tmp_path / "resumed", 12) == 12
    quantize(tiny, recipe, tmp_path / "resumed", calibration=TEXT)
    assert snapshot(tmp_path / "resumed") == snapshot(out)


def test_bits_spent_by_sensitivity_leave_a_shared_table_shared(tmp_path):
    shape = {"hidden": 128, "intermediate": 256, "heads": 4, "head_dim": 32}
    tiny = write_tiny_model(tmp_path / "tiny", **shape)
    recipe = replace(load_recipe("mixed"), calibration=Calibration(sequences=4, length=64))
    made = quantize(tiny, recipe, tmp_path / "out", calibration=TEXT).manifest
    [table] = (layer for layer in made.layers if layer.name == "model.embed_tokens")
    assert table.why.startswith("lm_head reads it too, dynamic int8")
    assert "lm_head.weight" not in open_checkpoint(tmp_path / "out").names()


def test_a_head_that_was_given_bits_of_a_budget_keeps_them(tiny, tmp_path):
    choices = '[{ bits = 8, granularity = "channel" }, { bits = 4, group_size = 32 }]'
    text = SIZE.replace("[cal", "bits = 7\n[cal") + "[embedding]\nweights = { bits = 8 }\n"
    text += f'[[layers]]\nmatch = "*"\nchoices = {choices}\nactivations = {{ bits = 8 }}'
    made = quantize(tiny, parse_recipe(text, "mine"), tmp_path / "out", calibration=TEXT).manifest
    assert "lm_head" in made.chosen
    assert "lm_head.weight" in open_checkpoint(tmp_path / "out").names()


def test_what_a_group_costs_is_measured_once_with_whichever_beside_it(tmp_path, monkeypatch):
    recipe = replace(load_recipe("mixed"), calibration=Calibration(sequences=4, length=64))
    shape = {"hidden": 128, "intermediate": 256, "heads": 4, "head_dim": 32}
    tiny = write_tiny_model(tmp_path / "tiny", **shape)
    quantize(tiny, recipe, tmp_path / "together", calibration=TEXT)
    measured, variant = [], choosing._variant

    def stopping(work, group):
        """The fourth group's weights cannot be made, the first time."""
        measured.append(group.names[0])
        return variant(work, group) if len(measured) != 4 else Variant(frozenset(group.names), stop)

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(choosing, "_TOGETHER", 2)
    monkeypatch.setattr(choosing, "_variant", stopping)
    with pytest.raises(KeyboardInterrupt):
        quantize(tiny, recipe, tmp_path / "out", calibration=TEXT)
    [state] = tmp_path.glob(".out.unfinished/state.json")
    assert list(json.loads(state.read_text())["sensitivity"]) == measured[:2]
    every, count = measured[:], len(measured)
    quantize(tiny, recipe, tmp_path / "out", calibration=TEXT)
    assert measured[count:] == every[2:]
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "together")


def test_whole_blocks_are_not_made_again(tiny, tmp_path):
    recipe, out = RECIPES["gptq"], tmp_path / "out"
    steps = interrupted(tiny, recipe, tmp_path / "whole", after=10**9)
    interrupted(tiny, recipe, out, after=steps - 3)
    [unfinished] = tmp_path.glob(".out.unfinished")
    state = json.loads((unfinished / "state.json").read_text())
    assert [unit["file"] for unit in state["units"]] == [
        f"model-{number:05}-of-00004.safetensors" for number in (1, 2)
    ]
    written = {p.name: p.stat().st_mtime_ns for p in unfinished.glob("*.safetensors")}
    told = []
    quantize(tiny, recipe, out, calibration=TEXT, progress=lambda *at: told.append(at))
    for name, moment in written.items():
        assert (out / name).stat().st_mtime_ns == moment
    assert len(told) < steps / 2


def test_progress_counts_the_blocks_which_take_the_time(tiny, tmp_path):
    told = []
    out = tmp_path / "out"
    quantize(tiny, RECIPES["gptq"], out, calibration=TEXT, progress=lambda *at: told.append(at))
    source = open_checkpoint(tiny)
    blocks = [name for name in source.names() if name.startswith("model.layers.")]
    weights = sum(math.prod(source.shape(name)) for name in blocks)
    assert {total for _, total in told} == {weights}
    assert told == sorted(told)
    assert told[-1] == (weights, weights)


def test_the_beginning_of_other_work_is_refused(tiny, tmp_path):
    out = tmp_path / "out"
    steps = interrupted(tiny, RECIPES["gptq"], tmp_path / "whole", after=10**9)
    interrupted(tiny, RECIPES["gptq"], out, after=steps - 3)
    with pytest.raises(InputError, match="beginning of another run"):
        quantize(tiny, RECIPES["awq"], out, calibration=TEXT)
    with pytest.raises(InputError, match="beginning of another run"):
        quantize(tiny, RECIPES["gptq"], out, calibration=CodeText("b", TEXT.documents * 2))
    set_weight(tiny, "model.norm.weight", 0.5)
    with pytest.raises(InputError, match="beginning of another run"):
        quantize(tiny, RECIPES["gptq"], out, calibration=TEXT)
    quantize(tiny, RECIPES["awq"], out, calibration=TEXT, force=True)
    quantize(tiny, RECIPES["awq"], tmp_path / "fresh", calibration=TEXT)
    assert snapshot(out) == snapshot(tmp_path / "fresh")


def test_two_at_a_time_do_not_meet(tiny, tmp_path):
    other = UnfinishedFolder(tmp_path / "out", "mark")
    with other, pytest.raises(InputError, match="another lichen is writing it"):
        quantize(tiny, RECIPES["gptq"], tmp_path / "out", calibration=TEXT)


# --- what is refused -------------------------------------------------------------------------


def test_weights_that_read_one_input_are_scaled_together(tiny, tmp_path):
    head = '[[layers]]\nmatch = "lm_head"\nkeep = true\n'
    head += '[[layers]]\nmatch = "*.q_proj"\nweights = { bits = 8 }\n'
    recipe = recipe_of('scaling = "awq"', head=head)
    with pytest.raises(InputError, match=r"k_proj.* read one input and need one scaling"):
        quantize(tiny, recipe, tmp_path / "out", calibration=TEXT)


def test_too_little_text_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="one sequence needs 64"):
        quantize(tiny, RECIPES["gptq"], tmp_path / "out", calibration=CodeText("b", ("x",)))
    assert not list(tmp_path.glob("*out*")), "nothing is left behind"


def test_weights_that_are_not_finite_are_named(tiny, tmp_path):
    set_weight(tiny, "model.layers.1.mlp.down_proj.weight", np.nan)
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.down_proj\.weight: weights are not fin"):
        quantize(tiny, RECIPES["gptq"], tmp_path / "out", calibration=TEXT)


@pytest.mark.parametrize("recipe", ["mine", "gptq"])
def test_a_source_that_changes_meanwhile_is_noticed(tiny, tmp_path, recipe):
    def change(done: int, total: int) -> None:
        weights = tiny / "model.safetensors"
        if done == total:
            weights.write_bytes(weights.read_bytes())

    rounded = parse_recipe('[[layers]]\nmatch = "*.layers.*"\nweights = { bits = 8 }', "mine")
    chosen = RECIPES.get(recipe, rounded)
    with pytest.raises(InputError, match=r"model\.safetensors changed while"):
        quantize(tiny, chosen, tmp_path / "out", calibration=TEXT, progress=change)
    assert not (tmp_path / "out").exists()


def test_a_source_that_vanishes_meanwhile_is_one_clear_error(tiny, tmp_path):
    def remove(done: int, total: int) -> None:
        if done == total:
            (tiny / "model.safetensors").unlink(missing_ok=True)

    with pytest.raises(InputError, match=r"model\.safetensors changed while .*, or is gone"):
        quantize(tiny, RECIPES["gptq"], tmp_path / "out", calibration=TEXT, progress=remove)
    assert not (tmp_path / "out").exists()


def test_the_default_text_is_not_what_divergence_is_measured_on():
    from lichen.verify import divergence

    held_out = divergence.standard_library()
    assert not set(calibration.standard_library().documents) & set(held_out.documents)
