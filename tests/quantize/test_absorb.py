"""What inputs are divided by goes into the operation before, and the model stays what it was."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from tests.tiny import ModelType, tiny_config, tiny_weights

from lichen import graph as ops
from lichen import models
from lichen.quantize.absorb import Absorber, absorber
from lichen.reference import Reference
from lichen.schemes import Scheme, dequantize, to_float32
from lichen.solvers import absmax, mse
from lichen.tensor import QuantizedTensor

Array = npt.NDArray[Any]
Weights = dict[str, Any]

IDS = np.random.default_rng(0).integers(3, 300, 40).astype(np.int32)
LAYER = "model.layers.1."
every_model = pytest.mark.parametrize("model_type", ["llama", "qwen2"])


def tiny(model_type: ModelType = "qwen2", **sizes: Any) -> tuple[ops.Graph, Weights]:
    config = tiny_config(model_type, **sizes)
    return models.build(config), dict(tiny_weights(config))


def logits(graph: ops.Graph, weights: Weights) -> Array:
    return Reference(graph, weights).step(IDS, np.arange(len(IDS), dtype=np.int32))


def readers(graph: ops.Graph, part: str) -> list[ops.Linear]:
    """The products that read the same input as one of the second layer."""
    linears = [n.operation for n in graph.nodes if isinstance(n.operation, ops.Linear)]
    x = next(op.x for op in linears if op.weight == f"{LAYER}{part}.weight")
    return [op for op in linears if op.x == x]


def drawn(width: int) -> Array:
    """Factors from 1/4 to 4."""
    return np.exp2(np.random.default_rng(1).uniform(-2, 2, width)).astype(np.float32)


def scaled(graph: ops.Graph, weights: Weights, part: str) -> Weights:
    """The weights with the inputs of a product divided by factors that its columns take over."""
    linears = readers(graph, part)
    place = absorber(graph, linears[0].x)
    assert place is not None
    changed = dict(weights)
    moved = place.divide(drawn(linears[0].x.width), changed.__getitem__, changed.__setitem__)
    for linear in linears:
        changed[linear.weight] = to_float32(weights[linear.weight]) * moved
    return changed


@every_model
@pytest.mark.parametrize("part", ["self_attn.q_proj", "mlp.gate_proj", "mlp.down_proj"])
def test_logits_stay_the_same(model_type, part):
    graph, weights = tiny(model_type)
    changed = scaled(graph, weights, part)
    names = {name for name in weights if (changed[name] != weights[name]).any()}
    assert len(names) > 1
    np.testing.assert_allclose(logits(graph, changed), logits(graph, weights), atol=1e-4)


@every_model
def test_attention_whose_heads_all_have_their_own_values_gives_them_up(model_type):
    graph, weights = tiny(model_type, kv_heads=4)
    changed = scaled(graph, weights, "self_attn.o_proj")
    assert (changed[f"{LAYER}self_attn.v_proj.weight"] != 0).any()
    if model_type == "qwen2":
        name = f"{LAYER}self_attn.v_proj.bias"
        assert (changed[name] != weights[name]).any(), "a bias is divided too"
    np.testing.assert_allclose(logits(graph, changed), logits(graph, weights), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("part", ["self_attn.q_proj", "mlp.gate_proj"])
def test_what_a_gain_cannot_hold_is_not_moved(part, dtype):
    """Gains of 16 bits are divided as well as they can be; weights take over exactly that."""
    graph, weights = tiny()
    for name in weights:
        if "norm" in name:
            weights[name] = weights[name].astype(dtype)
    weights[f"{LAYER}input_layernorm.weight"][3] = 0
    weights[f"{LAYER}post_attention_layernorm.weight"][3] = np.finfo(np.float16).smallest_normal
    changed = scaled(graph, weights, part)
    wide = {name: to_float32(tensor) for name, tensor in weights.items()}
    after = {name: to_float32(tensor) for name, tensor in changed.items()}
    np.testing.assert_allclose(logits(graph, after), logits(graph, wide), atol=1e-4)


def test_inputs_that_others_read_or_heads_share_are_left_alone():
    graph, _ = tiny()
    [o_proj] = readers(graph, "self_attn.o_proj")
    assert absorber(graph, o_proj.x) is None, "two query heads share their values"
    embedding = graph.nodes[0].value
    assert absorber(graph, embedding) is None, "the residual reads it"


# --- rows that are quantized already -----------------------------------------------------------


def divided(tensor: QuantizedTensor, factors: Array) -> tuple[QuantizedTensor, Array]:
    made: dict[str, Any] = {"up": tensor}
    moved = Absorber((), "up").divide(factors, made.__getitem__, made.__setitem__)
    return made["up"], moved


def quantized(scheme: Scheme, solver: Any = absmax) -> QuantizedTensor:
    weight = np.random.default_rng(0).standard_normal((24, 96)).astype(np.float32)
    tensor: QuantizedTensor = solver.solve(weight, scheme)
    return tensor


@pytest.mark.parametrize("solver", [absmax, mse], ids=["absmax", "mse"])
@pytest.mark.parametrize("scale_type", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("part", [("channel", None), ("group", 32)], ids=["channel", "group"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zeros"])
def test_quantized_rows_keep_their_codes_and_have_other_scales(symmetric, part, scale_type, solver):
    """Scales of mse may be negative; they are divided like all others."""
    tensor, factors = quantized(Scheme(4, symmetric, *part, scale_type), solver), drawn(24)
    made, moved = divided(tensor, factors)
    rounding = {"float32": 1e-6, "float16": 2**-11, "bfloat16": 2**-8}[scale_type]
    np.testing.assert_allclose(moved, factors, rtol=rounding)
    np.testing.assert_array_equal(made.codes, tensor.codes)
    product = dequantize(made) * moved[:, None]
    left = 1e-6 if part[0] == "channel" else 2 * rounding  # of a lone scale the factor has it all
    np.testing.assert_allclose(product, dequantize(tensor), rtol=left)


def test_a_row_whose_scale_would_lose_its_precision_stays_as_it_is():
    tensor = quantized(Scheme(4, True, "channel", scale_type="float16"))
    factors = np.ones(24, np.float32)
    factors[5], factors[6], factors[7] = 2.0**20, 4, 2.0**-30
    made, moved = divided(tensor, factors)
    np.testing.assert_array_equal(moved, np.where(np.arange(24) == 6, 4, 1))
    factors[6] = 1
    made, moved = divided(tensor, factors)
    np.testing.assert_array_equal(made.scales, tensor.scales)


def test_a_scale_that_all_rows_share_stays_as_it_is():
    tensor = quantized(Scheme(8, True, "tensor"))
    made, moved = divided(tensor, drawn(24))
    assert made is tensor
    np.testing.assert_array_equal(moved, np.ones(24))


def test_logits_stay_the_same_when_rows_are_quantized_already():
    graph, weights = tiny()
    name = f"{LAYER}mlp.up_proj.weight"
    weights[name] = mse.solve(weights[name], Scheme(4, True, "group", 32))
    changed = scaled(graph, weights, "mlp.down_proj")
    assert (changed[name].scales != weights[name].scales).all()
    np.testing.assert_allclose(logits(graph, changed), logits(graph, weights), atol=1e-4)
