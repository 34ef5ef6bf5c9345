"""Products of every scheme with every scheme of activations: the numbers of the reference."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp
from tests.quantized import quantized, write_quantized
from tests.tiny import write_tiny_model
from tests.wide import LOST, meet_in_16_bits
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from lichen import _core, graph, models, reference
from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.quantization_config import LayerFormat
from lichen.engine.compile import compile_graph
from lichen.engine.lowering import lower
from lichen.loading import load
from lichen.reference import Reference
from lichen.schemes import BITS, ActivationScheme, Scheme
from lichen.schemes.packing import packed_columns

TOKEN = ActivationScheme()
STATIC = ActivationScheme(granularity="tensor", dynamic=False)
GROUPS = {size: ActivationScheme(granularity="group", group_size=size) for size in (32, 128)}
INPUTS = {"floats": None, "token": TOKEN, "static": STATIC, "groups": GROUPS[32]}
INPUTS["large-groups"] = GROUPS[128]
PARTS = {"tensor": None, "channel": None, "group": 32, "large-group": 128}
ROWS, COLUMNS, TOKENS = 20, 256, 7
POOL = _core.ThreadPool(2)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weights_of(bits: int, inputs: ActivationScheme | None, scales: str):
    """A weight in every scheme of so many bits."""
    for symmetric, (part, size) in product((True, False), PARTS.items()):
        granularity = part.removeprefix("large-")
        scheme = Scheme(bits, symmetric, granularity, size, scales)
        yield quantized(normal(bits, ROWS, COLUMNS) + 0.3, LayerFormat(scheme, inputs))


def through_a_plan(x: np.ndarray, weight, isa: str) -> np.ndarray:
    """x times a weight by a compiled graph, which looks the rows of x up in a table."""
    net = graph.Graph(graph.CacheShape(1, 1, 8), len(x), 64)
    rows = net.embedding("table", *x.shape)
    net.linear(rows, "weight", len(weight.codes), "bias")
    tensors = {"table": x, "weight": weight, "bias": np.arange(ROWS, dtype=np.float32)}
    plan = compile_graph(net, tensors.__getitem__, POOL, isa, 16)
    every = np.arange(len(x), dtype=np.int32)
    cache = _core.Cache(1, 1, 8, 16, 1)
    zero = np.array([[0]], np.int32)
    plan.fill(np.nan)
    return plan.step(cache, every, every, np.array([0, len(x)], np.int32), zero, every)


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize(
    ("bits", "scales"), [*((bits, "float16") for bits in BITS), (4, "float32"), (8, "float32")]
)
def test_every_product_is_the_references(monkeypatch, bits, scales, inputs):
    meet_in_16_bits(monkeypatch)
    x = normal(1, TOKENS, COLUMNS)
    x[3] = 0
    for weight in weights_of(bits, inputs, scales):
        want = reference.linear(x, weight) + np.arange(ROWS, dtype=np.float32)
        found = through_a_plan(x, weight, _core.supported_isas()[-1])
        np.testing.assert_allclose(found, want, 1e-5, 2e-5, err_msg=str(weight.scheme))


@pytest.mark.parametrize(
    ("scheme", "inputs", "kernel"),
    [
        (Scheme(4, True, "group", 32, "float16"), TOKEN, "i4"),
        (Scheme(4, False, "group", 128, "bfloat16"), STATIC, "i4"),
        (Scheme(3, True, "group", 32, "float16"), GROUPS[32], "i4"),
        (Scheme(2, False, "group", 64, "float16"), TOKEN, "i4"),
        (Scheme(8), TOKEN, "i8"),
        (Scheme(8, granularity="tensor"), STATIC, "i8"),
        (Scheme(6, False), TOKEN, "i8"),
        (Scheme(4), TOKEN, "i8"),
        (Scheme(4, True, "group", 32, "float16"), None, "b4"),
        (Scheme(2, False, "channel"), None, "b4"),
        (Scheme(8), None, "b8"),
        (Scheme(5, False, "group", 64, "float16"), None, "b6"),
        (Scheme(6, True, "channel"), None, "b6"),
    ],
    ids=str,
)
def test_what_a_kernel_can_do_it_does(scheme, inputs, kernel):
    chosen = lower(quantized(normal(0, ROWS, COLUMNS), LayerFormat(scheme, inputs)))
    assert chosen.dtype == kernel
    assert chosen.rounding is None


@pytest.mark.parametrize(
    ("scheme", "inputs", "kernel"),
    [
        (Scheme(8, False), TOKEN, "b8"),
        (Scheme(8, True, "group", 32, "float16"), GROUPS[32], "b8"),
        (Scheme(4, True, "group", 32, "float16"), GROUPS[128], "b4"),
        (Scheme(4, True, "group", 32, "float32"), TOKEN, "b4"),
    ],
    ids=["zero-points", "groups-of-8-bits", "other-groups", "scales-of-32-bits"],
)
def test_what_no_kernel_does_is_rounded_and_stays_in_floats(scheme, inputs, kernel):
    chosen = lower(quantized(normal(0, ROWS, COLUMNS), LayerFormat(scheme, inputs)))
    assert (chosen.dtype, chosen.rounding) == (kernel, (0.0, inputs.group_size or 0))


@pytest.mark.parametrize("inputs", list(INPUTS.values())[1:], ids=list(INPUTS)[1:])
def test_inputs_are_rounded_as_compressed_tensors_does(inputs):
    args = QuantizationArgs(
        num_bits=8,
        strategy=inputs.granularity,
        group_size=inputs.group_size,
        dynamic=inputs.dynamic,
    )
    x = torch.from_numpy(normal(2, TOKENS, 256) * 3)
    scale, zero = torch.tensor([0.02]), torch.zeros(1)
    if inputs.dynamic:
        [scale], [zero] = compute_dynamic_scales_and_zp(x[None], args, torch.nn.Linear(1, 1))
    theirs = fake_quantize(x, scale, zero, args).numpy()
    given = None if inputs.dynamic else 0.02
    ours = reference.fake_quantize(x.numpy(), inputs, given)
    np.testing.assert_array_equal(ours.astype(np.float32), theirs)
    plan = _core.Plan(POOL, "portable", 16)
    rows, rounded = plan.value(256), plan.value(256)
    plan.embedding(_core.Linear(POOL, x.numpy(), "f32", None, None, "portable"), rows)
    plan.fake_quantize(rows, rounded, given or 0.0, inputs.group_size or 0)
    plan.output(rounded)
    every = np.arange(TOKENS, dtype=np.int32)
    step = every, every, np.array([0, TOKENS], np.int32), np.array([[0]], np.int32), every
    np.testing.assert_array_equal(plan.step(_core.Cache(1, 1, 8, 16, 1), *step), theirs)


# --- whole models ----------------------------------------------------------------------------

PROMPTS = np.random.default_rng(0).integers(3, 300, (12, 3)).astype(np.int32)
LAYER = "model.layers.0."
HALF = Scheme(4, True, "group", 32, "float16")
MODELS: dict[str, dict[str, LayerFormat | None]] = {
    "inputs-of-every-kind": {
        f"{LAYER}self_attn.q_proj": LayerFormat(Scheme(8), TOKEN),
        f"{LAYER}self_attn.k_proj": LayerFormat(Scheme(8, True, "group", 32), GROUPS[32]),
        f"{LAYER}self_attn.v_proj": LayerFormat(HALF, GROUPS[128]),
        f"{LAYER}self_attn.o_proj": LayerFormat(Scheme(6, True, "group", 64), STATIC),
        f"{LAYER}mlp.gate_proj": LayerFormat(HALF, TOKEN),
        f"{LAYER}mlp.up_proj": LayerFormat(Scheme(3, True, "tensor"), STATIC),
        f"{LAYER}mlp.down_proj": LayerFormat(Scheme(5, True, "group", 128), GROUPS[128]),
    },
    "weights-only": {
        f"{LAYER}self_attn.q_proj": LayerFormat(Scheme(8), None),
        f"{LAYER}self_attn.k_proj": LayerFormat(Scheme(2, True, "group", 32), None),
        f"{LAYER}self_attn.v_proj": LayerFormat(Scheme(6, True, "tensor"), None),
        f"{LAYER}self_attn.o_proj": LayerFormat(Scheme(4), None),
        f"{LAYER}mlp.gate_proj": LayerFormat(Scheme(3, True, "group", 128), None),
        f"{LAYER}mlp.up_proj": LayerFormat(Scheme(5, True, "group", 64), None),
        f"{LAYER}mlp.down_proj": LayerFormat(Scheme(8, True, "group", 32), None),
    },
    "zero-points": {
        f"{LAYER}self_attn.o_proj": None,
        f"{LAYER}mlp.gate_proj": None,
        f"{LAYER}self_attn.q_proj": LayerFormat(Scheme(8, False), TOKEN),
        f"{LAYER}self_attn.k_proj": LayerFormat(Scheme(8, False, "group", 32), GROUPS[32]),
        f"{LAYER}self_attn.v_proj": LayerFormat(Scheme(8, False, "tensor"), STATIC),
        f"{LAYER}mlp.up_proj": LayerFormat(Scheme(4, False, "tensor"), TOKEN),
        f"{LAYER}mlp.down_proj": LayerFormat(Scheme(2, False, "tensor"), None),
    },
}


def tiny(folder: Path, dtype: str = "float32", *, tied: bool = False) -> Path:
    shape = {"hidden": 128, "intermediate": 256, "head_dim": 32, "layers": 1}
    return write_tiny_model(folder / "tiny", dtype=dtype, tied=tied, **shape)


def by_reference(folder: Path) -> np.ndarray:
    checkpoint = open_checkpoint(folder)
    net = models.build(checkpoint.config)
    weights = {name: checkpoint.read(name) for name, _ in net.weights()}
    rows = np.arange(PROMPTS.shape[1], dtype=np.int32)
    return np.stack([Reference(net, weights).step(ids, rows) for ids in PROMPTS])


def by_the_engine(folder: Path) -> np.ndarray:
    engine = load(folder, threads=1, isa="portable", kv_cache="float32").engine
    return np.stack([np.concatenate(list(engine.logits(ids))) for ids in PROMPTS])


def by_transformers(folder: Path, **options: object) -> np.ndarray:
    options |= {"dtype": torch.float32}
    model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    with torch.no_grad():
        return model(torch.from_numpy(PROMPTS)).logits.numpy()


def share_of_equal_prompts(a: np.ndarray, b: np.ndarray, close: float = 2e-4) -> float:
    """Not all of them: where x / scale lies next to a half, its last bit decides a code."""
    return float((np.abs(a - b).max(axis=(1, 2)) < close).mean())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("formats", MODELS.values(), ids=MODELS)
def test_engine_reference_and_transformers_agree_on_a_folder(tmp_path, formats, dtype):
    source = tiny(tmp_path, dtype)
    made = write_quantized(source, tmp_path / "out", formats | {"lm_head": None})
    checkpoint = open_checkpoint(tmp_path / "out")
    for layer, tensor in made.items():
        found = checkpoint.read(f"{layer}.weight")
        np.testing.assert_array_equal(found.codes, tensor.codes)
        np.testing.assert_array_equal(found.scales, tensor.scales)
        np.testing.assert_array_equal(found.zeros, tensor.zeros)
        assert (found.scheme, found.activations) == (tensor.scheme, tensor.activations)
        assert found.input_scale == pytest.approx(tensor.input_scale)
    expected = by_reference(tmp_path / "out")
    assert share_of_equal_prompts(by_transformers(tmp_path / "out"), expected) >= 0.5
    with pytest.MonkeyPatch.context() as patched:
        meet_in_16_bits(patched)
        rounded = by_reference(tmp_path / "out")
    assert share_of_equal_prompts(by_the_engine(tmp_path / "out"), rounded, LOST) >= 0.5
    assert share_of_equal_prompts(by_reference(source), expected) == 0


ZEROS = LayerFormat(Scheme(4, False, "group", 32), None)


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`:UserWarning")
def test_packed_zero_points_are_what_transformers_refuses_for_a_shape_it_made_up(
    tmp_path, monkeypatch
):
    """compressed-tensors 0.20 lays the model out on the meta device first; there, its compressor
    packs weights, but not zero points, whose shape then is not that of the file."""
    formats = dict.fromkeys(MODELS["weights-only"], ZEROS)
    write_quantized(tiny(tmp_path), tmp_path / "out", formats | {"lm_head": None})
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        by_transformers(tmp_path / "out")
    expected = by_reference(tmp_path / "out")
    given_up = CompressedTensorsConfig(dequantize=True)  # of quantization; the weights are the same
    theirs = by_transformers(tmp_path / "out", quantization_config=given_up)
    np.testing.assert_allclose(theirs, expected, atol=2e-4)
    np.testing.assert_allclose(by_the_engine(tmp_path / "out"), expected, atol=LOST)

    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    compress = compressor.compress.__func__

    def with_packed_zero_points(cls, state, scheme):
        made = compress(cls, state, scheme)
        zeros = made["weight_zero_point"]
        if zeros.device.type == "meta":
            shape = packed_columns(len(zeros), scheme.weights.num_bits), zeros.shape[1]
            made["weight_zero_point"] = torch.empty(shape, dtype=torch.int32, device="meta")
        return made

    monkeypatch.setattr(compressor, "compress", classmethod(with_packed_zero_points))
    np.testing.assert_allclose(by_transformers(tmp_path / "out"), expected, atol=2e-4)


# --- embeddings ------------------------------------------------------------------------------

EMBEDDING = "model.embed_tokens"
TABLES = {"int8": Scheme(8), "int8-groups": Scheme(8, True, "group", 32), "int4": HALF}
TABLES |= {"int6": Scheme(6), "int4-zeros": ZEROS.weights}


@pytest.mark.parametrize("tied", [False, True], ids=["alone", "tied"])
@pytest.mark.parametrize("scheme", TABLES.values(), ids=TABLES)
def test_a_quantized_embedding_is_stored_once_and_looked_up(tmp_path, scheme, tied):
    source = tiny(tmp_path, tied=tied)
    formats = {EMBEDDING: LayerFormat(scheme, None), "lm_head": None}
    formats |= dict.fromkeys(MODELS["weights-only"], LayerFormat(Scheme(8), TOKEN))
    made = write_quantized(source, tmp_path / "out", formats)
    checkpoint = open_checkpoint(tmp_path / "out")
    assert ("lm_head.weight" in checkpoint.names()) == (not tied)
    tensor = checkpoint.read(f"{EMBEDDING}.weight")
    np.testing.assert_array_equal(tensor.codes, made[EMBEDDING].codes)
    assert tensor.activations is None
    expected = by_reference(tmp_path / "out")
    assert share_of_equal_prompts(by_the_engine(tmp_path / "out"), expected, LOST) >= 0.5
    if scheme.bits == 8 and not tied:
        assert share_of_equal_prompts(by_transformers(tmp_path / "out"), expected) >= 0.5


@pytest.mark.parametrize(
    ("scheme", "tied"), [(HALF, False), (Scheme(8), True)], ids=["packed", "tied"]
)
def test_transformers_does_not_read_packed_or_shared_tables(tmp_path, scheme, tied):
    """As its config's documentation says; should this fail, transformers has learnt it."""
    source = tiny(tmp_path, tied=tied)
    formats = {EMBEDDING: LayerFormat(scheme, None), "lm_head": None}
    formats |= dict.fromkeys(MODELS["weights-only"], LayerFormat(Scheme(8), TOKEN))
    write_quantized(source, tmp_path / "out", formats)
    with pytest.raises((AttributeError, RuntimeError)):
        by_transformers(tmp_path / "out")


def test_bfloat16_scales_pass_through_the_kernels():
    scheme = Scheme(4, True, "group", 32, "bfloat16")
    weight = quantized(normal(3, ROWS, COLUMNS), LayerFormat(scheme, TOKEN))
    assert weight.scales.astype(ml_dtypes.bfloat16).astype(np.float32).tolist() == (
        weight.scales.tolist()
    )
    assert lower(weight).dtype == "i4"
