"""The pipeline: what it writes, what others compute from it, and that failure leaves no trace."""

from __future__ import annotations

import errno
import filecmp
import json
import re
import shutil
import time
import tracemalloc
from functools import partial
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tests.quantized import IN_GROUPS, INT4, INT8, SHARED_TABLE, stored_tensors
from tests.tiny import write_json, write_tiny_model, write_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

import lichen.quantize as pipeline
from lichen import models
from lichen.checkpoint import atomic, open_checkpoint
from lichen.code_text import CodeText
from lichen.errors import InputError, ResourceError
from lichen.export import export
from lichen.quantize import existing, fingerprint, quantize
from lichen.quantize.explain import explain_folder, explain_recipe
from lichen.quantize.update import recipe_of
from lichen.recipe import load_recipe, parse_recipe
from lichen.reference import Reference
from lichen.schemes import dequantize
from lichen.tensor import QuantizedTensor

DOWN = "model.layers.0.mlp.down_proj"
PROMPTS = np.random.default_rng(0).integers(3, 300, (40, 3))
MODELS = [
    pytest.param({"model_type": "qwen2"}, id="qwen2"),
    pytest.param({"model_type": "llama", "tied": False, "dtype": "float32"}, id="llama"),
    pytest.param({"model_type": "qwen2", "dtype": "bfloat16", "shards": 2}, id="qwen2-bfloat16"),
    pytest.param({"model_type": "llama", "dtype": "float16"}, id="llama-float16"),
]
MIXED = """
[[layers]]
match = "*.layers.0.mlp.down_proj"
weights = { bits = 8 }
[[layers]]
match = "*.self_attn.o_proj"
keep = true
[[layers]]
match = "*.layers.*"
weights = { bits = 8 }
activations = { bits = 8 }
"""


#: int4 in groups of 64, int4 whose inputs stay in floats, and int8, all in one model.  No zero
#: points: transformers 5.23 with compressed-tensors 0.20 refuses every packed folder that has them,
#: because it expects one word a row; tests/checkpoint compares these with compressed-tensors alone.
INT4_KINDS = """
[[layers]]
match = "*.mlp.down_proj"
weights = { bits = 8 }
activations = { bits = 8 }
[[layers]]
match = "*.self_attn.o_proj"
weights = { bits = 4 }
solver = "mse"
[[layers]]
match = "*.layers.*"
weights = { bits = 4, group_size = 64 }
activations = { bits = 8 }
"""
#: Inputs of o_proj are 64 wide, those of the others have two or three groups where WIDE says so.
INT8_GROUPS = """
[[layers]]
match = "*.layers.*"
weights = { bits = 8 }
activations = { bits = 8, granularity = "group", group_size = 64 }
"""
WIDE = {"hidden": 128, "intermediate": 192}
RECIPES = {
    "int8": INT8,
    "mixed": parse_recipe(MIXED, "mixed"),
    "int4": INT4,
    "int4-kinds": parse_recipe(INT4_KINDS, "int4-kinds"),
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))}


# --- what is written -------------------------------------------------------------------------


@pytest.mark.parametrize("options", MODELS)
def test_quantized_weights_come_back_and_the_rest_is_untouched(tmp_path, options):
    source = open_checkpoint(write_tiny_model(tmp_path / "tiny", **options))
    quantize(source.path, INT8, tmp_path / "out")
    made = open_checkpoint(tmp_path / "out")
    assert set(made.names()) == set(source.names())
    for name in source.names():
        before, after = source.read(name), made.read(name)
        if name.endswith("_proj.weight"):
            assert isinstance(after, QuantizedTensor)
            error = np.abs(dequantize(after) - before.astype(np.float32))
            assert (error <= after.scales).all()
        else:
            assert after.dtype == before.dtype
            np.testing.assert_array_equal(after, before)


def test_config_is_the_sources_with_the_quantization(tiny, tmp_path):
    quantize(tiny, INT8, tmp_path / "out")
    before = json.loads((tiny / "config.json").read_text())
    after = json.loads((tmp_path / "out" / "config.json").read_text())
    quantization = after.pop("quantization_config")
    assert after == before
    assert quantization["ignore"] == ["lm_head"]
    assert quantization["config_groups"]["group_0"]["targets"] == ["Linear"]
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert filecmp.cmp(tiny / name, tmp_path / "out" / name, shallow=False)


def test_a_copy_of_the_embedding_in_a_tied_model_is_not_written(tiny, tmp_path):
    weights = load_file(tiny / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    write_weights(tiny, weights)
    quantize(tiny, INT8, tmp_path / "out")
    assert "lm_head.weight" not in open_checkpoint(tmp_path / "out").names()


def test_buffers_that_the_model_does_not_use_are_passed_on(tiny, tmp_path):
    weights = load_file(tiny / "model.safetensors")
    weights["model.layers.0.self_attn.mask"] = np.array([[1, -1]], np.int64)
    write_weights(tiny, weights)
    quantize(tiny, INT8, tmp_path / "out")
    mask = open_checkpoint(tmp_path / "out").read("model.layers.0.self_attn.mask")
    np.testing.assert_array_equal(mask, weights["model.layers.0.self_attn.mask"])


def test_the_manifest_tells_what_was_done(tiny, tmp_path):
    report = quantize(tiny, INT8, tmp_path / "out")
    manifest = report.manifest
    assert existing(tmp_path / "out") == manifest
    assert manifest.recipe.text == INT8.text
    assert manifest.source.digest == open_checkpoint(tiny).digest()
    assert manifest.fingerprint == fingerprint(manifest.source.digest, INT8)
    assert manifest.files == {
        "model.safetensors": (tmp_path / "out" / "model.safetensors").stat().st_size
    }
    assert len(manifest.layers) == 2 * 7
    down = next(layer for layer in manifest.layers if layer.name == DOWN)
    weight = open_checkpoint(tiny).read(f"{DOWN}.weight").astype(np.float64)
    back = dequantize(open_checkpoint(tmp_path / "out").read(f"{DOWN}.weight"))
    assert down.error == pytest.approx(((back - weight) ** 2).sum() / (weight**2).sum(), rel=1e-5)
    assert 0 < down.error < 1e-4
    assert (down.rows, down.columns) == weight.shape
    quantized = sum(layer.rows * layer.columns for layer in manifest.layers)
    scales = sum(layer.rows for layer in manifest.layers)
    assert manifest.quantized_parameters == quantized
    assert manifest.quantized_bits_per_weight == pytest.approx(8 + 32 * scales / quantized)
    assert manifest.bits_per_weight == 8 * manifest.bytes / manifest.parameters


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_int4_takes_four_and_a_half_bits_whatever_the_source(tmp_path, dtype):
    source = write_tiny_model(tmp_path / "tiny", dtype=dtype)
    manifest = quantize(source, INT4, tmp_path / "out").manifest
    assert manifest.quantized_bits_per_weight == 4.5
    raw = load_file(tmp_path / "out" / "model.safetensors")
    assert raw[f"{DOWN}.weight_packed"].dtype == np.int32
    assert raw[f"{DOWN}.weight_packed"].shape == (64, 12)
    assert raw[f"{DOWN}.weight_scale"].dtype.name == dtype.replace("float32", "float16")
    assert raw[f"{DOWN}.weight_scale"].shape == (64, 3)
    assert raw[f"{DOWN}.weight_shape"].tolist() == [64, 96]


def test_rows_that_groups_do_not_divide_are_refused(tiny, tmp_path):
    text = '[[layers]]\nmatch = "*.layers.*"\nweights = { bits = 4, group_size = 64 }'
    with pytest.raises(InputError) as caught:
        quantize(tiny, parse_recipe(text, "mine"), tmp_path / "out")
    assert str(caught.value) == (
        "recipe mine: groups do not divide every row:"
        " model.layers.0.mlp.down_proj has 96 inputs, not whole groups of 64 (groups of 32 fit);"
        " model.layers.1.mlp.down_proj has 96 inputs, not whole groups of 64 (groups of 32 fit)."
    )


@pytest.mark.parametrize("recipe", [INT8, INT4], ids=["int8", "int4"])
def test_the_same_command_writes_the_same_bytes(tiny, tmp_path, recipe):
    quantize(tiny, recipe, tmp_path / "a")
    quantize(tiny, recipe, tmp_path / "b")
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_progress_counts_to_the_end(tiny, tmp_path):
    seen: list[tuple[int, int]] = []
    report = quantize(tiny, INT8, tmp_path / "out", progress=lambda *step: seen.append(step))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (report.manifest.parameters, report.manifest.parameters)


FORETOLD = re.compile(r"about (\d+) MB, ([\d.]+) bits per weight, ([\d.]+) in the quantized layers")


@pytest.mark.parametrize("solver", ["mse", "gptq"])
def test_the_size_is_said_before_the_start_and_comes_true(tmp_path, solver):
    shape = {"hidden": 512, "intermediate": 1024, "vocab": 4096, "dtype": "float16"}
    source = write_tiny_model(tmp_path / "tiny", layers=1, heads=4, head_dim=128, **shape)
    text = f'[calibration]\nsequences = 1\nlength = 64\n{SHARED_TABLE}[[layers]]\nmatch = "*"\n'
    recipe = parse_recipe(f'{text}weights = {{ bits = 4 }}\nsolver = "{solver}"\n', "mine")
    told: list[str | int] = []
    made = quantize(
        source,
        recipe,
        tmp_path / "out",
        calibration=CodeText("words", ("def f(x): return x\n" * 100,)),
        progress=lambda done, _: told.append(done),
        say=told.append,
    ).manifest
    found = FORETOLD.fullmatch(str(told[0]))
    assert found, "before any progress"
    size, bits, quantized = map(float, found.groups())
    stored = sum(array.nbytes for array in stored_tensors(tmp_path / "out").values())
    assert abs(size - stored / 1e6) <= 0.5, "whole MB, without the files' headers"
    assert bits == pytest.approx(8 * stored / made.parameters, abs=0.01)
    assert quantized == pytest.approx(made.quantized_bits_per_weight, abs=0.006)
    assert 4.5 < quantized < 8


# --- what others compute from it -------------------------------------------------------------
#
# Where x / scale lies next to a half, the last bit of x decides a code, and a code moves all that
# follows; a row's largest value, when negative, always lies there (absmax / scale = 127.5).  Two
# implementations that add in another order therefore agree layer by layer, and on most of many
# short prompts, but not on every one.


def loaded(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def their_logits(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(PROMPTS)).logits.numpy()


def our_logits(folder: Path) -> np.ndarray:
    """What lichen's NumPy reference computes from a folder."""
    checkpoint = open_checkpoint(folder)
    graph = models.build(checkpoint.config)
    weights = {name: checkpoint.read(name) for name, _ in graph.weights()}
    rows = np.arange(PROMPTS.shape[1], dtype=np.int32)
    return np.stack([Reference(graph, weights).step(ids, rows) for ids in PROMPTS.astype(np.int32)])


def share_of_equal_prompts(a: np.ndarray, b: np.ndarray) -> float:
    return float((np.abs(a - b).max(axis=(1, 2)) < 1e-4).mean())


def share_of_equal_rows(a: np.ndarray, b: np.ndarray) -> float:
    """Position by position: where a code has fallen the other way, those before it are the same."""
    return float((np.abs(a - b).max(axis=2) < 1e-4).mean())


def integer_product(weight: QuantizedTensor, bias: torch.Tensor | None, x: torch.Tensor):
    """y = (int8 codes of x) @ (codes of w) in each group, times both scales.

    The inputs' scales are dynamic, per token or for each group of columns.
    """
    tokens = x.numpy()
    size = weight.activations and weight.activations.group_size
    groups = weight.shape[1] // size if size else weight.scales.shape[1]
    scales = np.broadcast_to(weight.scales, (weight.shape[0], groups))
    parts = weight.codes.astype(np.int64).reshape(*scales.shape, -1)
    if weight.zeros is not None:
        parts = parts - weight.zeros[:, :, None]
    if weight.activations is None:
        y = tokens @ (parts * scales[:, :, None]).reshape(weight.shape).astype(np.float32).T
    else:
        shared = tokens.reshape(*tokens.shape[:-1], groups if size else 1, -1)
        scale = np.abs(shared).max(-1, keepdims=True) / np.float32(127.5)
        codes = np.clip(np.rint(shared / scale), -128, 127).astype(np.int64)
        grouped = codes.reshape(*tokens.shape[:-1], *parts.shape[1:])
        sums = np.einsum("...gk,rgk->...rg", grouped, parts) * scales
        y = (sums * scale[..., 0][..., None, :]).sum(-1).astype(np.float32)
    return torch.from_numpy(y) + (0 if bias is None else bias)


def quantized_layers(model: torch.nn.Module, folder: Path):
    checkpoint = open_checkpoint(folder)
    names = set(checkpoint.names())
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in names:
            tensor = checkpoint.read(f"{name}.weight")
            if isinstance(tensor, QuantizedTensor):
                yield module, tensor


@pytest.mark.parametrize("options", MODELS)
def test_inputs_of_int8_in_groups_are_quantized_by_transformers_too(tmp_path, options):
    recipe = parse_recipe(INT8_GROUPS, "int8-groups")
    test_every_layer_in_transformers_is_the_integer_product(tmp_path, options | WIDE, recipe)


def test_groups_of_inputs_that_do_not_divide_every_row_are_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"down_proj has 96 inputs, not whole groups of 64"):
        quantize(tiny, parse_recipe(INT8_GROUPS, "mine"), tmp_path / "out")
    write_tiny_model(tmp_path / "wide", **WIDE)
    quantize(tmp_path / "wide", parse_recipe(INT8_GROUPS, "mine"), tmp_path / "made")
    config = json.loads((tmp_path / "made/config.json").read_text())
    group = config["quantization_config"]["config_groups"]["group_0"]
    group["input_activations"]["group_size"] = 128
    (tmp_path / "made/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="192 columns, which groups of 128 inputs do not fill"):
        open_checkpoint(tmp_path / "made")


@every_recipe
@pytest.mark.parametrize("options", MODELS)
def test_every_layer_in_transformers_is_the_integer_product(tmp_path, options, recipe):
    quantize(write_tiny_model(tmp_path / "tiny", **options), recipe, tmp_path / "out")
    model = loaded(tmp_path / "out")
    seen = []
    for module, tensor in quantized_layers(model, tmp_path / "out"):
        module.register_forward_hook(
            lambda module, x, y, tensor=tensor: seen.append((tensor, module.bias, x[0], y))
        )
    their_logits(model)
    head = recipe is INT4 and options.get("tied") is False
    assert len(seen) == (12 if recipe.name == "mixed" else 14 + head)
    with torch.no_grad():
        for tensor, bias, x, y in seen:
            torch.testing.assert_close(y, integer_product(tensor, bias, x), atol=2e-5, rtol=1e-5)


@every_recipe
@pytest.mark.parametrize("options", MODELS)
def test_transformers_computes_what_the_codes_mean(tmp_path, options, recipe):
    source = write_tiny_model(tmp_path / "tiny", **options)
    quantize(source, recipe, tmp_path / "out")
    simulation, original = loaded(source), their_logits(loaded(source))
    for module, tensor in quantized_layers(simulation, tmp_path / "out"):
        module.forward = partial(integer_product, tensor, module.bias)
    theirs = their_logits(loaded(tmp_path / "out"))
    assert share_of_equal_prompts(theirs, their_logits(simulation)) >= 0.5
    assert share_of_equal_prompts(theirs, original) == 0, "quantization must have an effect"


@pytest.mark.parametrize("recipe", [INT8, INT4], ids=["int8", "int4"])
@pytest.mark.parametrize("options", MODELS)
def test_the_reference_computes_what_transformers_does(tmp_path, options, recipe):
    quantize(write_tiny_model(tmp_path / "tiny", **options), recipe, tmp_path / "out")
    theirs = their_logits(loaded(tmp_path / "out"))
    assert share_of_equal_prompts(theirs, our_logits(tmp_path / "out")) >= 0.5


# --- a GGUF source ---------------------------------------------------------------------------


@pytest.fixture
def gguf_file(tmp_path) -> Path:
    """A tiny qwen2 whose matrices are Q8_0 and whose vectors are float32."""
    folder = write_tiny_model(tmp_path / "plain", vocab=384)
    return write_gguf(folder, tmp_path / "tiny.gguf")


def write_gguf(folder: Path, path: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["id"] for token in tokenizer["added_tokens"]}
    vocabulary += [f"[PAD{i}]" for i in range(len(vocabulary), config["vocab_size"])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if i in special else 1 for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        short = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if tensor.ndim == 1:
            writer.add_tensor(short, tensor)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(short, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_a_gguf_kept_is_narrowed_to_float16(gguf_file, tmp_path):
    report = quantize(gguf_file, INT8, tmp_path / "out")
    source, made = open_checkpoint(gguf_file), open_checkpoint(tmp_path / "out")
    table = made.read("model.embed_tokens.weight")
    assert table.dtype == np.float16
    np.testing.assert_allclose(
        table.astype(np.float32), source.read("model.embed_tokens.weight"), rtol=2**-11, atol=1e-7
    )
    assert made.read("model.norm.weight").dtype == np.float32, "plain floats stay as they were"
    assert made.read(f"{DOWN}.weight").scheme.scale_type == "float16"
    assert made.config["torch_dtype"] == "float16"
    (narrowed,) = report.manifest.narrowed
    assert (narrowed.name, narrowed.dtype) == ("model.embed_tokens.weight", "float16")
    assert 0 < narrowed.error < 1e-6
    assert (
        "Q8_0" in report.manifest.source.description or "GGUF" in report.manifest.source.description
    )


def test_a_folder_from_gguf_loads_in_transformers(gguf_file, tmp_path):
    quantize(gguf_file, INT8, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.decode(tokenizer("def f(x):")["input_ids"]) == "def f(x):"
    theirs = their_logits(loaded(tmp_path / "out"))
    assert share_of_equal_prompts(theirs, our_logits(tmp_path / "out")) >= 0.5


def test_values_beyond_float16_stay_in_float32(tmp_path):
    folder = write_tiny_model(tmp_path / "plain")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][7] *= 1e6
    write_weights(folder, weights)
    report = quantize(write_gguf(folder, tmp_path / "big.gguf"), INT8, tmp_path / "out")
    made = open_checkpoint(tmp_path / "out")
    assert made.read("model.embed_tokens.weight").dtype == np.float32
    assert made.config["torch_dtype"] == "float32"
    assert report.manifest.narrowed[0].dtype == "float32"


# --- memory ----------------------------------------------------------------------------------


@pytest.fixture
def slow_disk(monkeypatch):
    """20 MB a second, so that as many tensors wait as may."""
    append = atomic.SafetensorsWriter._append

    def late(writer, handed):
        time.sleep(handed[0].nbytes / 20e6)
        append(writer, handed)

    monkeypatch.setattr(atomic.SafetensorsWriter, "_append", late)


@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize("waiting", [0, 1 << 22])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_stays_below_two_layers_and_what_is_written(tmp_path, monkeypatch, dtype, waiting):
    shape = {"hidden": 512, "intermediate": 2048, "layers": 6, "heads": 8, "head_dim": 64}
    source = write_tiny_model(tmp_path / "tiny", vocab=4096, dtype=dtype, **shape)
    quantize(source, INT8, tmp_path / "warm")  # imports and caches are not the pipeline's memory
    layer_bytes, table_bytes = 4 * 512 * 2048, 4096 * 512 * (4 if dtype == "float32" else 2)
    bound = 2 * layer_bytes + table_bytes + waiting
    least = 6 * layer_bytes + waiting
    assert open_checkpoint(source).size_bytes > least > bound, "the bound must be able to fail"
    monkeypatch.setattr(atomic, "_WAITING_BYTES", waiting)
    tracemalloc.start()
    quantize(source, INT8, tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < bound


# --- what is refused, and what failure leaves behind -----------------------------------------


def set_weight(folder: Path, name: str, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name].reshape(-1)[-1] = value
    write_weights(folder, weights)


def set_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | changes)


def drop_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[f"{DOWN}.weight"], weights["model.norm.weight"]
    write_weights(folder, weights)


def integer_norm(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].astype(np.int32)
    write_weights(folder, weights)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: set_weight(f, f"{DOWN}.weight", np.nan), f"{DOWN}.weight: weights are not fin"),
        (lambda f: set_weight(f, f"{DOWN}.weight", -np.inf), f"{DOWN}.weight: weights are not fin"),
        (lambda f: set_weight(f, "model.norm.weight", np.inf), "model.norm.weight has values that"),
        (lambda f: set_weight(f, "model.embed_tokens.weight", np.nan), "embed_tokens.weight has"),
        (drop_weights, f"{DOWN}.weight is missing; model.norm.weight is missing"),
        (lambda f: set_config(f, intermediate_size=64), f"{DOWN}.weight is [64, 96], config.json"),
        (integer_norm, "model.norm.weight is I32, not a float type"),
        (lambda f: set_config(f, model_type="mamba"), "'mamba' is not supported"),
        (lambda f: shutil.rmtree(f), "is not there"),
    ],
    ids=[
        "nan",
        "inf",
        "inf-norm",
        "nan-table",
        "missing",
        "shape",
        "integers",
        "architecture",
        "no-folder",
    ],
)
@pytest.mark.filterwarnings("error")
def test_unusable_models_are_refused_and_leave_nothing(tiny, tmp_path, damage, message):
    damage(tiny)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        quantize(tiny, INT8, tmp_path / "out")
    assert message in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_quantized_model_is_not_quantized_again(tiny, tmp_path):
    quantize(tiny, INT8, tmp_path / "once")
    with pytest.raises(InputError, match="already quantized"):
        quantize(tmp_path / "once", INT8, tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_head_that_is_quantized_has_a_weight_of_its_own(tmp_path, tied):
    source = write_tiny_model(tmp_path / "tiny", tied=tied)
    recipe = parse_recipe('[[layers]]\nmatch = "*"\nweights = { bits = 8 }', "all")
    quantize(source, recipe, tmp_path / "out")
    made, original = open_checkpoint(tmp_path / "out"), open_checkpoint(source)
    assert made.config["tie_word_embeddings"] is False
    table, head = (made.read(name) for name in ("model.embed_tokens.weight", "lm_head.weight"))
    assert isinstance(head, QuantizedTensor)
    np.testing.assert_array_equal(table, original.read("model.embed_tokens.weight"))
    of_head = original.read("model.embed_tokens.weight" if tied else "lm_head.weight")
    assert np.square(dequantize(head) - of_head).sum() < 1e-3 * np.square(of_head).sum()
    theirs = their_logits(loaded(tmp_path / "out"))
    assert np.abs(theirs - their_logits(loaded(source))).max() < 1


TABLE = (
    SHARED_TABLE
    + """[[layers]]
match = "*"
weights = { bits = 8 }
activations = { bits = 8 }
"""
)


@pytest.mark.parametrize("model_type", ["qwen2", "llama"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_codes_that_embedding_and_head_have_in_common_are_stored_once(tmp_path, model_type, dtype):
    source = write_tiny_model(tmp_path / "tiny", model_type, dtype=dtype, shards=2)
    made = quantize(source, parse_recipe(TABLE, "table"), tmp_path / "out").manifest
    raw = stored_tensors(tmp_path / "out")
    assert [name for name in raw if "lm_head" in name] == ["lm_head.weight_scale"]
    checkpoint = open_checkpoint(tmp_path / "out")
    assert checkpoint.config["tie_word_embeddings"] is True
    assert not [name for name in checkpoint.names() if "scale" in name or "lm_head" in name]
    table = checkpoint.read("model.embed_tokens.weight")
    assert isinstance(table, QuantizedTensor)
    assert table.activations == IN_GROUPS
    assert made.predicted_bytes == sum(array.nbytes for array in raw.values())
    theirs = their_logits(loaded(tmp_path / "out"))
    assert share_of_equal_prompts(our_logits(tmp_path / "out"), theirs) >= 0.5
    assert np.abs(theirs - their_logits(loaded(source))).max() < 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(
            '"lm_head"\nweights = { bits = 8 }', '"lm_head"\nweights = { bits = 6 }'
        ),
        lambda text: text.replace("[[layers]]", '[[layers]]\nsolver = "mse"', 1),
        lambda text: text.replace("activations", "#", 1),
        lambda text: "rotate = true\n" + text,
    ],
    ids=["bits", "solver", "packed", "rotated"],
)
def test_a_head_whose_codes_are_others_has_a_weight_of_its_own(tiny, tmp_path, change):
    text = change(TABLE)
    assert text != TABLE
    quantize(tiny, parse_recipe(text, "mine"), tmp_path / "out")
    made = open_checkpoint(tmp_path / "out")
    assert made.config["tie_word_embeddings"] is False
    assert isinstance(made.read("lm_head.weight"), QuantizedTensor)
    assert made.read("model.embed_tokens.weight").activations is None


def test_a_table_that_is_shared_is_explained_updated_and_exported(tiny, tmp_path):
    recipe = parse_recipe(TABLE, "table")
    why = {layer.name: layer.why for layer in explain_recipe(recipe, tiny).layers}
    assert why["lm_head"] == "matches 'lm_head', its codes are the embedding's"
    assert why["model.embed_tokens"] == "the recipe's embedding, the head's too"
    made = quantize(tiny, recipe, tmp_path / "out").manifest
    why = {layer.name: layer.why for layer in explain_folder(tmp_path / "out").layers}
    assert why["model.embed_tokens"] == f"lm_head reads it too, {IN_GROUPS}"
    assert recipe_of(tmp_path / "out")[0] == recipe
    export(tmp_path / "out", tmp_path / "out.gguf")
    exported = open_checkpoint(tmp_path / "out.gguf")
    assert exported.config["tie_word_embeddings"] is True
    assert len(made.layers) == 15
    quantize(tmp_path / "out", INT8, tmp_path / "again", requantize=True)
    assert "lm_head.weight_scale" not in open_checkpoint(tmp_path / "again").names()


def test_what_a_tied_model_carries_for_its_head_is_not_in_the_way(tiny, tmp_path):
    weights = load_file(tiny / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] * 2
    weights["lm_head.weight_scale"] = np.ones((384, 1), np.float32)
    write_weights(tiny, weights)
    quantize(tiny, parse_recipe(TABLE, "table"), tmp_path / "out")
    table = open_checkpoint(tmp_path / "out").read("model.embed_tokens.weight")
    assert table.activations == IN_GROUPS


def test_inputs_of_a_shared_head_come_in_whole_groups(tiny, tmp_path):
    text = TABLE.replace("group_size = 32", "group_size = 128")
    with pytest.raises(InputError, match="lm_head has 64 inputs, not whole groups of 128"):
        quantize(tiny, parse_recipe(text, "mine"), tmp_path / "out")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_recipe_can_spare_only_a_head_that_is_the_embedding(tmp_path, tied):
    source = write_tiny_model(tmp_path / "tiny", tied=tied)
    text = '[[layers]]\nmatch = "*"\nweights = { bits = 8 }\nkeep_tied = true'
    quantize(source, parse_recipe(text, "mine"), tmp_path / "out")
    made = open_checkpoint(tmp_path / "out")
    assert made.config["quantization_config"]["ignore"] == (["lm_head"] if tied else [])
    head = made.read("model.embed_tokens.weight" if tied else "lm_head.weight")
    assert isinstance(head, QuantizedTensor) != tied


def test_a_tied_model_without_its_table_is_told_so_whatever_the_head_gets(tiny, tmp_path):
    weights = load_file(tiny / "model.safetensors")
    del weights["model.embed_tokens.weight"]
    write_weights(tiny, weights)
    with pytest.raises(InputError, match=r"model\.embed_tokens\.weight is missing\."):
        quantize(tiny, load_recipe("int8"), tmp_path / "out")


def test_a_recipe_that_comes_down_to_nothing_is_refused(tiny, tmp_path):
    text = '[[layers]]\nmatch = "lm_head"\nweights = { bits = 8 }\nkeep_tied = true'
    with pytest.raises(InputError, match="no layer of this model would be quantized"):
        quantize(tiny, parse_recipe(text, "mine"), tmp_path / "out")


def test_a_pattern_that_matches_nothing_is_refused(tiny, tmp_path):
    recipe = parse_recipe(INT8.text + '[[layers]]\nmatch = "*.c_attn"\nkeep = true\n', "typo")
    with pytest.raises(InputError, match=r"pattern '\*\.c_attn' matches no layer"):
        quantize(tiny, recipe, tmp_path / "out")


def test_a_folder_with_something_in_it_needs_force(tiny, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        quantize(tiny, INT8, out)
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    quantize(tiny, INT8, out, force=True)
    assert existing(out) is not None
    assert not (out / "notes.txt").exists()


@pytest.mark.parametrize("where", [".", ".."], ids=["the-model", "its-parent"])
def test_the_model_itself_is_never_replaced(tiny, where):
    before = snapshot(tiny)
    with pytest.raises(InputError, match="holds the model itself"):
        quantize(tiny, INT8, tiny / where, force=True)
    assert snapshot(tiny) == before


def test_too_small_a_disk_is_noticed_before_the_start(tiny, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9, 1000)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda _: usage)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ResourceError, match=r"needs \d+ MB, but .* 0 MB free"):
        quantize(tiny, INT8, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("old", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize(
    ("struck_by", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError),
        (MemoryError(), MemoryError),
    ],
    ids=["ctrl-c", "disk-full", "no-memory"],
)
def test_failure_half_way_leaves_the_old_state(tiny, tmp_path, struck_by, raised, old):
    out = tmp_path / "out"
    if old:
        quantize(tiny, INT8, out)
    before = sorted(tmp_path.iterdir()), old and snapshot(out)

    def strike(done: int, total: int) -> None:
        if done > total / 2:
            raise struck_by

    with pytest.raises(raised):
        quantize(tiny, INT8, out, force=True, progress=strike)
    assert (sorted(tmp_path.iterdir()), old and snapshot(out)) == before


# --- finding out that the work is done -------------------------------------------------------


def test_existing_finds_only_whole_folders(tiny, tmp_path):
    out = tmp_path / "out"
    assert existing(out) is None
    quantize(tiny, INT8, out)
    assert existing(out) is not None
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert existing(out) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema_version": 1}', "\x00"])
def test_a_manifest_that_is_none_counts_as_none(tmp_path, content):
    (tmp_path / "lichen.json").write_text(content)
    assert existing(tmp_path) is None


def test_a_manifest_from_a_newer_lichen_is_refused(tmp_path):
    (tmp_path / "lichen.json").write_text('{"schema_version": 99}')
    with pytest.raises(InputError, match="written by a newer lichen"):
        existing(tmp_path)


def test_the_fingerprint_changes_with_source_and_recipe():
    other = parse_recipe(INT8.text + "# edited\n", "int8")
    prints = {fingerprint("a", INT8), fingerprint("b", INT8), fingerprint("a", other)}
    assert len(prints) == 3


def test_a_model_without_a_tokenizer_is_refused_before_any_work(tiny, tmp_path):
    (tiny / "tokenizer.json").unlink()
    before = set(tmp_path.rglob("*"))
    steps = []
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        quantize(tiny, INT8, tmp_path / "out", progress=lambda *s: steps.append(s))
    assert steps == []
    assert set(tmp_path.rglob("*")) == before


def test_a_tokenizer_that_is_cut_off_is_refused_before_any_work(tiny, tmp_path):
    file = tiny / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-9])
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"its tokenizer\.json cannot be read"):
        quantize(tiny, INT8, tmp_path / "out")
    assert set(tmp_path.rglob("*")) == before
