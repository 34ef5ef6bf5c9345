"""compressed-tensors folders: what others wrote is read, what lichen cannot run is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as torch_save_file
from tests.quantized import IN_GROUPS, quantized, write_quantized
from tests.tiny import write_json, write_tiny_model

from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.compressed_tensors import stored
from lichen.checkpoint.quantization_config import LayerFormat, parse_config, quantization_config
from lichen.errors import InputError
from lichen.schemes import ActivationScheme, Scheme, dequantize
from lichen.solvers import absmax
from lichen.tensor import QuantizedTensor

W8A8 = LayerFormat(Scheme(8), ActivationScheme())
STATIC = LayerFormat(Scheme(8), ActivationScheme(granularity="tensor", dynamic=False))
GROUPED = LayerFormat(
    Scheme(4, True, "group", 32), ActivationScheme(granularity="group", group_size=32)
)
W8A8_GROUPED = LayerFormat(Scheme(8), ActivationScheme(granularity="group", group_size=128))
W8A16 = LayerFormat(Scheme(8), None)
GROUPS = Scheme(4, True, "group", 32)
W4A8 = LayerFormat(GROUPS, ActivationScheme())
W4A16 = LayerFormat(GROUPS, None)
ZEROS = LayerFormat(Scheme(4, False, "group", 128), ActivationScheme())
TOKEN = ActivationScheme()
LAYERS = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj", "lm_head"]
INT8 = {"num_bits": 8, "type": "int", "symmetric": True}


def config_of(**changes) -> dict:
    config = quantization_config(dict.fromkeys(LAYERS[:2], W8A8) | {"lm_head": None})
    return config | changes


def group_of(**changes) -> dict:
    return config_of()["config_groups"]["group_0"] | changes


# --- the config ------------------------------------------------------------------------------


def test_the_config_is_the_documented_one():
    assert config_of() == {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": INT8 | {"strategy": "channel", "dynamic": False},
                "input_activations": INT8 | {"strategy": "token", "dynamic": True},
                "output_activations": None,
            }
        },
    }


@pytest.mark.parametrize(
    "formats",
    [
        [W8A8, W8A8, None],
        [W8A8, None, None],
        [W8A8, W8A16, None],
        [W8A16, W8A16, W8A16],
        [W8A8, W8A16, W8A8],
        [W4A8, W4A8, None],
        [W4A16, W4A16, None],
        [W4A8, W4A16, W8A8],
        [ZEROS, W4A8, W8A16],
        [STATIC, STATIC, None],
        [STATIC, W8A8, W4A16],
        [GROUPED, W4A8, W8A8],
        [W8A8_GROUPED, W8A8, GROUPED],
    ],
    ids=[
        *("all-but-head", "one", "two-formats", "weights-only", "head-too"),
        *("int4", "int4-weights-only", "int4-and-int8", "zero-points", "static", "some-static"),
        "grouped-inputs",
        "int8-grouped-inputs",
    ],
)
def test_what_is_written_reads_back(formats):
    layers = dict(zip(LAYERS, formats, strict=True))
    config = json.loads(json.dumps(quantization_config(layers)))
    groups = parse_config(config)
    assert {layer: groups.find(layer) for layer in LAYERS} == layers
    QuantizationConfig.model_validate(config)  # compressed-tensors takes it too


def test_targets_go_from_names_to_patterns_to_classes_whatever_the_order():
    config = config_of(
        ignore=["re:.*lm_head"],
        config_groups={
            "a": group_of(targets=["Linear"]),
            "b": group_of(targets=[r"re:.*down_proj$"], input_activations=None),
            "c": group_of(targets=["model.layers.1.mlp.down_proj"]),
        },
    )
    groups = parse_config(config)
    assert groups.find("model.layers.0.mlp.up_proj") == W8A8
    assert groups.find("model.layers.0.mlp.down_proj") == W8A16
    assert groups.find("model.layers.1.mlp.down_proj") == W8A8
    assert groups.find("lm_head") is None


def test_the_form_that_llm_compressor_writes_is_read():
    config = {
        "config_groups": {
            "group_0": {
                "format": "int-quantized",
                "input_activations": INT8
                | {"actorder": None, "block_structure": None, "dynamic": True, "group_size": None}
                | {"observer": None, "observer_kwargs": {}, "strategy": "token"},
                "output_activations": None,
                "targets": ["Linear"],
                "weights": INT8
                | {"actorder": None, "block_structure": None, "dynamic": False, "group_size": None}
                | {"observer": "minmax", "observer_kwargs": {}, "strategy": "channel"},
            }
        },
        "format": "int-quantized",
        "global_compression_ratio": None,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "sparsity_config": {},
        "transform_config": {},
        "version": "0.12.2",
    }
    assert parse_config(config).find(LAYERS[0]) == W8A8


def test_a_preset_stands_for_its_group():
    assert parse_config(config_of(config_groups={"W8A8": ["Linear"]})).find(LAYERS[0]) == W8A8


def test_int4_is_the_documented_one():
    config = quantization_config({"x": W4A16, "lm_head": None})
    int4 = {"num_bits": 4, "type": "int", "symmetric": True}
    assert config["format"] == "pack-quantized"
    assert config["config_groups"]["group_0"] == {
        "targets": ["Linear"],
        "weights": int4 | {"strategy": "group", "group_size": 32, "dynamic": False},
        "input_activations": None,
        "output_activations": None,
    }
    with_inputs = quantization_config({"x": W4A8})["config_groups"]["group_0"]
    assert with_inputs["input_activations"] == INT8 | {"strategy": "token", "dynamic": True}
    assert with_inputs["format"] == "pack-quantized", "or the reader would take it for int8"


def test_formats_of_both_kinds_are_mixed_precision():
    config = quantization_config({"x": W4A8, "y": W4A8, "z": W8A8})
    assert config["format"] == "mixed-precision"
    assert [g["targets"] for g in config["config_groups"].values()] == [["Linear"], ["z"]]


def test_all_faults_are_named_at_once():
    weights = {"num_bits": 9, "type": "float", "symmetric": "yes", "strategy": "block"}
    weights |= {"group_size": 48, "dynamic": True, "colour": "green"}
    bad = group_of(
        targets=["re:("],
        weights=weights,
        input_activations=INT8 | {"strategy": "channel", "dynamic": "local"},
        output_activations=INT8,
        format="pack-quantized",
        speed=3,
    )
    config = config_of(
        format="float-quantized",
        quantization_status="frozen",
        kv_cache_scheme=INT8,
        config_groups={"group_0": bad},
        mystery=1,
    )
    with pytest.raises(InputError) as caught:
        parse_config(config)
    message = str(caught.value)
    for fault in (
        "format 'float-quantized' (lichen reads 'int-quantized' or 'pack-quantized'"
        " or 'trellis-quantized')",
        "quantization_status 'frozen'",
        "kv_cache_scheme is not supported",
        "unknown mystery",
        "group_0: unknown speed",
        "group_0: targets has the pattern 're:('",
        "group_0: output_activations are not supported",
        "group_0: weights num_bits is 9 (supported: 8 or 6 or 5 or 4 or 3 or 2)",
        "group_0: weights type is 'float' (supported: 'int')",
        "group_0: weights symmetric is 'yes' (supported: True or False)",
        "group_0: weights strategy is 'block' (supported: 'channel' or 'tensor' or 'group')",
        "group_0: weights dynamic is True (supported: False)",
        "group_0: weights colour 'green' is not supported",
        "group_0: weights group_size is 48 (supported: None or 32 or 64 or 128)",
        "group_0: input_activations strategy is 'channel' (supported: 'token' or 'tensor' or 'group')",  # noqa: E501
        "group_0: input_activations dynamic is 'local' (supported: True or False)",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"group_size": 48}, "group_size is 48 (supported: None or 32 or 64 or 128)"),
        ({"strategy": "channel"}, "weights have group_size 32 per channel"),
        ({"group_size": None}, "weights have group_size None per group"),
        ({"strategy": None, "group_size": -1, "num_bits": 7}, "num_bits is 7 (supported: 8 or"),
    ],
    ids=["group-of-48", "size-per-channel", "no-size", "seven-bits"],
)
def test_other_kinds_of_weights_are_refused(weights, message):
    config = quantization_config({"x": W4A8})
    config["config_groups"]["group_0"]["weights"] |= weights
    with pytest.raises(InputError) as caught:
        parse_config(config)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "granularity", "size"),
    [
        ({}, "tensor", None),
        ({"group_size": -1}, "channel", None),
        ({"group_size": 64}, "group", 64),
    ],
    ids=["nothing", "all-columns", "size"],
)
def test_a_strategy_that_is_absent_follows_from_the_size(arguments, granularity, size):
    config = quantization_config({"x": W4A16})
    group = config["config_groups"]["group_0"]
    group["weights"] = {"num_bits": 4} | arguments
    theirs = QuantizationConfig.model_validate(config).config_groups["group_0"].weights
    assert theirs.strategy == granularity
    found = parse_config(config).find("x").weights
    assert (found.granularity, found.group_size) == (granularity, size)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quant_method 'gptq' is not supported"),
        ({}, "quant_method None is not supported"),
        ("int8", "is 'int8', not an object"),
        (config_of(config_groups={}), "config_groups is missing or empty"),
        (config_of(config_groups={"NVFP4": ["Linear"]}), "NVFP4 is the preset or value"),
        (config_of(config_groups={"group_0": 3}), "group_0 is the preset or value 3"),
        (config_of(ignore="lm_head"), "ignore is 'lm_head', not a list"),
        (config_of(config_groups={"group_0": group_of(weights=None)}), "weights is None"),
    ],
)
def test_other_configs_are_refused(config, message):
    with pytest.raises(InputError) as caught:
        parse_config(config)
    assert message in str(caught.value)


# --- the tensors -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tiny bfloat16 model quantized the way compressed-tensors itself does it."""
    return compress(write_tiny_model(tmp_path / "tiny", dtype="bfloat16"))


def compress(folder: Path, chosen: LayerFormat = W8A8) -> Path:
    """Quantize all projections of a folder in place with compressed-tensors' own code."""
    config = json.loads((folder / "config.json").read_text())
    quantization = quantization_config(dict.fromkeys(LAYERS[:2], chosen) | {"lm_head": None})
    scheme = QuantizationConfig.model_validate(quantization).config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(quantization["format"])
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        value = torch.from_numpy(tensor.astype(np.float32)).to(torch.bfloat16)
        if not name.endswith("proj.weight"):
            tensors[name] = value
            continue
        parts = value.reshape(len(value), -1, chosen.weights.group_size or value.shape[1])
        scale, zero = calculate_qparams(parts.amin(2), parts.amax(2), scheme.weights)
        state = {"weight": value, "weight_scale": scale}
        if not chosen.weights.symmetric:
            state["weight_zero_point"] = zero.to(torch.int8)
        for part, made in compressor.compress(state, scheme).items():
            tensors[name.removesuffix("weight") + part] = made.contiguous()
    torch_save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", config | {"quantization_config": quantization})
    return folder


def edit(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


Q = "model.layers.0.self_attn.q_proj.weight"


def test_a_folder_of_compressed_tensors_reads_as_it_is_stored(folder):
    raw = load_file(folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    assert not [name for name in checkpoint.names() if "scale" in name]
    tensor = checkpoint.read(Q)
    assert isinstance(tensor, QuantizedTensor)
    assert tensor.scheme == Scheme(8, scale_type="bfloat16")
    assert tensor.activations == ActivationScheme()
    np.testing.assert_array_equal(tensor.codes, raw[Q])
    np.testing.assert_array_equal(tensor.scales, raw[f"{Q}_scale"].astype(np.float32))
    norm = checkpoint.read("model.norm.weight")
    assert norm.dtype == ml_dtypes.bfloat16
    assert "int8 weights per channel" in checkpoint.description
    assert checkpoint.dtype(Q) == "I8"
    assert checkpoint.shape(Q) == tensor.shape


def test_a_weight_file_that_changes_after_opening_is_named(folder):
    checkpoint = open_checkpoint(folder)
    assert checkpoint.changed() == ""
    edit(folder, lambda tensors: None)
    assert checkpoint.changed() == "model.safetensors"


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("flat", [False, True], ids=["[out,1]", "[out]"])
def test_scales_of_any_float_type_and_either_shape(folder, kind, flat):
    def change(tensors):
        scale = tensors[f"{Q}_scale"].astype(kind)
        tensors[f"{Q}_scale"] = scale.reshape(-1) if flat else scale

    edit(folder, change)
    tensor = open_checkpoint(folder).read(Q)
    assert tensor.scales.shape == (len(tensor.codes), 1)
    assert tensor.scales.dtype == np.float32


def test_one_scale_for_the_whole_tensor(folder):
    config = json.loads((folder / "config.json").read_text())
    group = copy.deepcopy(config["quantization_config"]["config_groups"]["group_0"])
    group["weights"]["strategy"] = "tensor"
    config["quantization_config"]["config_groups"]["group_0"] = group
    write_json(folder / "config.json", config)

    def change(tensors):
        for name in tensors:
            if name.endswith("_scale"):
                tensors[name] = np.array([0.5], np.float32)

    edit(folder, change)
    tensor = open_checkpoint(folder).read(Q)
    assert tensor.scales.tolist() == [[0.5]]
    np.testing.assert_array_equal(dequantize(tensor), tensor.codes * np.float32(0.5))


def make_static(folder, scale):
    config = json.loads((folder / "config.json").read_text())
    group = config["quantization_config"]["config_groups"]["group_0"]
    group["input_activations"] |= {"strategy": "tensor", "dynamic": False}
    write_json(folder / "config.json", config)

    def change(tensors):
        for name in [name for name in tensors if name.endswith(".weight_scale")]:
            tensors[name.replace("weight_scale", "input_scale")] = scale

    edit(folder, change)


@pytest.mark.parametrize("shape", [(1,), ()], ids=str)
def test_a_static_scale_of_inputs(folder, shape):
    make_static(folder, np.full(shape, 0.25, np.float32))
    zero = Q.replace("weight", "input_zero_point")
    edit(folder, lambda t: t.update({zero: np.zeros(1, np.int8)}))
    checkpoint = open_checkpoint(folder)
    assert not [name for name in checkpoint.names() if "input" in name and "layernorm" not in name]
    tensor = checkpoint.read(Q)
    assert tensor.input_scale == 0.25
    assert tensor.activations == STATIC.activations
    assert "static int8 activations per tensor" in checkpoint.description
    written = stored(Q.removesuffix(".weight"), tensor)
    assert written[Q.replace("weight", "input_scale")].tolist() == [0.25]


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (np.ones(2, np.float32), r"input_scale is F32 \[2\], not one float"),
        (np.ones(1, np.int8), r"input_scale is I8 \[1\], not one float"),
        (np.zeros(1, np.float32), "input_scale is 0.0, not positive"),
        (np.full(1, np.nan, np.float32), "input_scale is nan, not positive"),
    ],
    ids=["two", "int8", "zero", "nan"],
)
def test_a_static_scale_that_is_none_is_refused(folder, scale, words):
    make_static(folder, scale)
    with pytest.raises(InputError, match=words):
        open_checkpoint(folder).read(Q)


def test_a_static_scale_that_is_missing_is_refused(folder):
    make_static(folder, np.ones(1, np.float32))
    edit(folder, lambda t: t.pop(Q.replace("weight", "input_scale")))
    with pytest.raises(InputError, match=r"q_proj.input_scale is missing"):
        open_checkpoint(folder)


@pytest.mark.parametrize(("strategy", "dynamic"), [("token", False), ("tensor", True)])
def test_static_scales_are_per_tensor_and_dynamic_ones_per_token(strategy, dynamic):
    inputs = INT8 | {"strategy": strategy, "dynamic": dynamic}
    config = config_of(config_groups={"a": group_of(input_activations=inputs)})
    with pytest.raises(InputError, match=f"(dynamic|static) per {strategy}"):
        parse_config(config)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"strategy": "group", "group_size": 48}, "input_activations group_size is 48"),
        ({"strategy": "group"}, "group_size None per group"),
        ({"strategy": "token", "group_size": 32}, "group_size 32 per token"),
    ],
    ids=["other-size", "no-size", "size-per-token"],
)
def test_grouped_inputs_have_a_known_size(inputs, words):
    config = config_of(format="int-quantized")
    config["config_groups"]["group_0"] |= {
        "weights": INT8 | {"num_bits": 4, "strategy": "group", "group_size": 32, "dynamic": False},
        "input_activations": INT8 | {"dynamic": True} | inputs,
    }
    with pytest.raises(InputError, match=words):
        parse_config(config)


def test_a_zero_point_of_zeros_is_ignored(folder):
    edit(folder, lambda t: t.update({f"{Q}_zero_point": np.zeros_like(t[f"{Q}_scale"], np.int8)}))
    checkpoint = open_checkpoint(folder)
    assert f"{Q}_zero_point" not in checkpoint.names()
    assert checkpoint.read(Q).zeros is None


def test_a_zero_point_that_is_not_zero_is_refused(folder):
    edit(folder, lambda t: t.update({f"{Q}_zero_point": np.ones((64, 1), np.int8)}))
    with pytest.raises(InputError, match=f"{Q}_zero_point is not zero"):
        open_checkpoint(folder).read(Q)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{Q}_scale"), f"{Q} is int8 but has no {Q}_scale"),
        (
            lambda t: t.update({f"{Q}_scale": t[f"{Q}_scale"][1:]}),
            "is BF16 [63, 1], not BF16 [64, 1], for 64 x 64",
        ),
        (lambda t: t.update({f"{Q}_scale": t[Q]}), f"{Q}_scale is I8, not F32"),
        (lambda t: t.update({Q: t[Q].astype(np.float32)}), f"{Q} is F32 [64, 64], not I8"),
        (lambda t: t.update({f"{Q}_packed": t.pop(Q)}), f"is stored as {Q}_packed, not in format"),
        (
            lambda t: t.update({"lm_head.weight": t[Q], "lm_head.weight_scale": t[f"{Q}_scale"]}),
            "lm_head has scales, but quantization_config does not quantize it",
        ),
    ],
    ids=["no-scale", "short-scale", "int-scale", "float-codes", "packed", "ignored-layer"],
)
def test_tensors_that_contradict_the_config_are_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


HEAD, TABLE = "lm_head", "model.embed_tokens"


@pytest.fixture
def shared(tmp_path) -> Path:
    """A tiny model whose head reads the codes of the embedding's table."""
    return share(write_tiny_model(tmp_path / "tiny"), LayerFormat(Scheme(8), IN_GROUPS))


def share(source: Path, head: LayerFormat | None) -> Path:
    formats = dict.fromkeys(LAYERS[:2], W8A8) | {TABLE: W8A16}
    out = source.with_name("shared")
    write_quantized(source, out, formats)
    config = json.loads((out / "config.json").read_text())
    quantization = quantization_config(formats | {HEAD: head})
    write_json(out / "config.json", config | {"quantization_config": quantization})
    edit(out, lambda t: t.update({f"{HEAD}.weight_scale": t[f"{TABLE}.weight_scale"]}))
    return out


def test_a_head_without_codes_reads_those_of_the_table(shared):
    checkpoint = open_checkpoint(shared)
    assert checkpoint.config["tie_word_embeddings"] is True
    assert not [name for name in checkpoint.names() if HEAD in name]
    for tensor in (checkpoint.read(f"{TABLE}.weight"), checkpoint.read_exact(f"{TABLE}.weight")):
        assert (tensor.scheme.bits, tensor.activations) == (8, IN_GROUPS)


def test_scales_of_a_shared_head_may_lie_otherwise(shared):
    edit(shared, lambda t: t.update({f"{HEAD}.weight_scale": t[f"{HEAD}.weight_scale"].ravel()}))
    zeros = np.zeros((384, 1), np.int8)
    edit(shared, lambda t: t.update({f"{HEAD}.weight_zero_point": zeros}))
    assert open_checkpoint(shared).read(f"{TABLE}.weight").activations == IN_GROUPS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({f"{HEAD}.weight_scale": 2 * t[f"{HEAD}.weight_scale"]}), "is not"),
        (lambda t: t.update({f"{HEAD}.weight_scale": t[f"{HEAD}.weight_scale"][1:]}), "is not"),
        (lambda t: t.update({f"{HEAD}.weight_zero_point": t[f"{TABLE}.weight"][:, :1]}), "is not"),
    ],
    ids=["other-scales", "too-few", "zero-points"],
)
def test_scales_of_a_shared_head_are_the_tables(shared, change, message):
    edit(shared, change)
    with pytest.raises(InputError, match=f"{message} {TABLE}.weight_.*, though lm_head shares"):
        open_checkpoint(shared)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (None, "lm_head has scales, but quantization_config does not quantize it"),
        (
            LayerFormat(Scheme(8, False), TOKEN),
            "with zero points per channel, but shares",
        ),
        (STATIC, "lm_head shares model.embed_tokens.weight and has static activations"),
        (W8A8_GROUPED, "which groups of 128 inputs do not fill"),
    ],
    ids=["kept", "another-format", "static", "groups"],
)
def test_a_shared_head_that_the_config_contradicts_is_refused(tmp_path, head, message):
    folder = share(write_tiny_model(tmp_path / "tiny"), head)
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    assert message in str(caught.value)


def test_scales_that_are_not_finite_are_refused(folder):
    edit(folder, lambda t: t.update({f"{Q}_scale": np.full((64, 1), np.inf, np.float32)}))
    with pytest.raises(InputError, match=f"{Q}_scale has values that are not finite"):
        open_checkpoint(folder).read(Q)


def test_a_fault_of_the_config_names_the_folder(folder):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["quant_method"] = "aqlm"
    write_json(folder / "config.json", config)
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert "'aqlm' is not supported" in str(caught.value)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_stored_tensors_have_the_documented_types_and_shapes(kind):
    weight = np.random.default_rng(0).standard_normal((6, 10), np.float32)
    tensors = stored("x", quantized(weight, LayerFormat(Scheme(8, scale_type=kind), TOKEN)))
    assert list(tensors) == ["x.weight", "x.weight_scale"]
    assert tensors["x.weight"].dtype == np.int8
    assert tensors["x.weight_scale"].dtype.name == kind
    assert tensors["x.weight_scale"].shape == (6, 1)


def test_one_scale_and_zero_point_for_a_tensor_are_vectors_of_one():
    weight = np.random.default_rng(0).standard_normal((6, 12), np.float32)
    tensors = stored("x", absmax.solve(weight, Scheme(3, False, "tensor")))
    assert {name: (part.dtype.name, part.shape) for name, part in tensors.items()} == {
        "x.weight_packed": ("int32", (6, 2)),
        "x.weight_shape": ("int64", (2,)),
        "x.weight_scale": ("float32", (1,)),
        "x.weight_zero_point": ("int8", (1,)),
    }


def test_codes_beyond_their_bits_are_refused(tmp_path):
    chosen = LayerFormat(Scheme(4), TOKEN)
    source = write_tiny_model(tmp_path / "tiny")
    write_quantized(source, tmp_path / "out", {Q.removesuffix(".weight"): chosen})
    path = tmp_path / "out" / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["config_groups"]["group_0"]["format"] = "int-quantized"
    write_json(path, config)

    def change(tensors):
        del tensors[f"{Q}_packed"], tensors[f"{Q}_shape"]
        tensors[Q] = np.full((64, 64), 8, np.int8)

    edit(tmp_path / "out", change)
    with pytest.raises(InputError, match=f"{Q} has codes that are not of 4 bits"):
        open_checkpoint(tmp_path / "out").read(Q)


# --- packed weights --------------------------------------------------------------------------


@pytest.fixture(params=["symmetric", "zero-points"])
def packed(tmp_path, request) -> Path:
    """A tiny bfloat16 model in int4, packed by compressed-tensors itself."""
    symmetric = request.param == "symmetric"
    chosen = LayerFormat(Scheme(4, symmetric, "group", 32), ActivationScheme())
    return compress(write_tiny_model(tmp_path / "tiny", dtype="bfloat16"), chosen)


def their_weight(folder: Path, name: str) -> np.ndarray:
    """What compressed-tensors makes of a packed weight, in float32."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    scheme = QuantizationConfig.model_validate(config).config_groups["group_0"]
    stored_parts = {
        key.removeprefix(name.removesuffix("weight")): value
        for key, value in load_file(folder / "model.safetensors").items()
        if key.startswith(f"{name}_")
    }
    state = {
        part: torch.from_numpy(array.astype(np.float32) if part == "weight_scale" else array)
        for part, array in stored_parts.items()
    }
    state["weight_shape"] = torch.Size(state["weight_shape"].tolist())
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    return compressor.decompress(state, scheme)["weight"].numpy()


def test_what_compressed_tensors_packed_reads_as_it_unpacks_it(packed):
    checkpoint = open_checkpoint(packed)
    assert not [name for name in checkpoint.names() if not name.endswith((".weight", ".bias"))]
    tensor = checkpoint.read(Q)
    assert isinstance(tensor, QuantizedTensor)
    assert tensor.scheme.scale_type == "bfloat16"
    assert (checkpoint.dtype(Q), checkpoint.shape(Q)) == ("I4", tensor.shape)
    assert tensor.codes.min() >= -8
    assert tensor.codes.max() <= 7
    assert (tensor.zeros is not None and tensor.zeros.any()) == (not tensor.scheme.symmetric)
    np.testing.assert_array_equal(dequantize(tensor), their_weight(packed, Q))
    assert "int4 weights" in checkpoint.description


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero-points"])
@pytest.mark.parametrize("rows", [8, 13])
def test_what_is_packed_here_is_what_compressed_tensors_packs(rows, symmetric):
    weight = np.random.default_rng(0).standard_normal((rows, 96), np.float32)
    tensor = absmax.solve(weight, Scheme(4, symmetric, "group", 32, "float32"))
    config = quantization_config({"x": LayerFormat(tensor.scheme, None)})
    scheme = QuantizationConfig.model_validate(config).config_groups["group_0"]
    state = {"weight": torch.from_numpy(weight), "weight_scale": torch.from_numpy(tensor.scales)}
    if tensor.zeros is not None:
        state["weight_zero_point"] = torch.from_numpy(tensor.zeros)
    theirs = BaseCompressor.get_value_from_registry("pack-quantized").compress(state, scheme)
    ours = stored("x", tensor)
    assert set(ours) == {f"x.{part}" for part in theirs}
    for part, array in theirs.items():
        np.testing.assert_array_equal(ours[f"x.{part}"], array.numpy())
        assert ours[f"x.{part}"].dtype.name == str(array.dtype).removeprefix("torch.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{Q}_shape"), f"{Q}_shape, which says rows and columns, is missing"),
        (lambda t: t.pop(f"{Q}_scale"), f"{Q}_packed has no {Q}_scale"),
        (lambda t: t.update({f"{Q}_packed": t[f"{Q}_packed"][1:]}), "not I32 [64, 8], for 64"),
        (lambda t: t.update({f"{Q}_scale": t[f"{Q}_scale"][:, :1]}), "not BF16 [64, 2], for 64"),
        (lambda t: t.update({f"{Q}_shape": np.array([64, 65])}), "groups of 32 columns do not"),
        (lambda t: t.update({f"{Q}_shape": np.array([64, -32])}), "groups of 32 columns do not"),
    ],
    ids=["no-shape", "no-scale", "short", "few-scales", "odd-shape", "negative-shape"],
)
def test_packed_tensors_that_contradict_the_config_are_refused(packed, change, message):
    edit(packed, change)
    with pytest.raises(InputError) as caught:
        open_checkpoint(packed)
    assert message in str(caught.value)


@pytest.mark.parametrize("packed", ["zero-points"], indirect=True)
def test_zero_points_must_be_there(packed):
    edit(packed, lambda t: t.pop(f"{Q}_zero_point"))
    with pytest.raises(InputError, match=f"{Q}_zero_point is missing"):
        open_checkpoint(packed)
