"""Linear layers on every instruction set that this machine has: exact, and blind to the batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wide import widen

from lichen import _core
from lichen.checkpoint.gguf_encode import TYPES, encode

Array = npt.NDArray[Any]

ISAS = _core.supported_isas()
#: Of int4, groups of 32, 64 and 128 without and with zero points, some with scales in bfloat16; of
#: blocks whole rows and groups of 16 and 32, with scales of float16, bfloat16 and float32.
DTYPES = [
    "f32", "f16", "bf16", "i8", "i4", "i4-zeros", "i4-64", "i4-64-bf16-zeros",
    "i4-128-bf16", "i4-128-zeros",
    "b8", "b8-16-shifts", "b6", "b6-16-shifts", "b4", "b4-shifts",
]  # fmt: skip
BLOCKS = [dtype for dtype in DTYPES if dtype.startswith(("b8", "b6", "b4"))]
STORED = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
POOL = _core.ThreadPool(2)

# rows, cols: a single number, odd sides, part of a panel of 16 rows, more and less than a tile of
# 64 rows, more columns than one block that stays in cache.
# (int4 takes as many whole groups as these columns need).
SHAPES = [(1, 1), (3, 5), (16, 4), (17, 33), (64, 64), (70, 129), (131, 600), (48, 4100)]

every_isa = pytest.mark.parametrize("isa", ISAS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_shape = pytest.mark.parametrize(
    ("rows", "cols"), SHAPES, ids=[f"{rows}x{cols}" for rows, cols in SHAPES]
)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Layer:
    """A random weight in one stored form, what it stands for in float32, and its packed layers."""

    def __init__(self, dtype: str, rows: int, cols: int, *, bias: bool = False, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.scales: Array | None = None
        self.zeros: Array | None = None
        self.shifts: Array | None = None
        self.bias = normal(seed + 1, rows) if bias else None
        if dtype.startswith("i4"):
            self.fill_groups(rng, rows, cols)
        elif dtype in BLOCKS:
            self.fill_blocks(rng, rows, cols)
        elif dtype.startswith("i8"):
            self.stored: Array = rng.integers(-128, 128, (rows, cols), dtype=np.int8)
            self.scales = rng.uniform(0.001, 0.1, rows).astype(np.float32)
            self.values: Array = self.stored * self.scales[:, None]
        else:
            weight = normal(seed, rows, cols).astype(STORED[dtype])
            self.stored = weight if dtype == "f32" else weight.view(np.uint16)
            self.values = weight.astype(np.float32)

    def fill_groups(self, rng: np.random.Generator, rows: int, cols: int) -> None:
        self.size = next((size for size in (64, 128) if f"-{size}" in self.dtype), 32)
        groups = -(-cols // self.size)
        self.stored = rng.integers(-8, 8, (rows, groups * self.size), dtype=np.int8)
        kind = ml_dtypes.bfloat16 if "bf16" in self.dtype else np.float16
        scales = rng.uniform(-0.1, 0.1, (rows, groups)).astype(kind)
        self.scales = scales.astype(np.float32)
        if "zeros" in self.dtype:
            self.zeros = rng.integers(-8, 8, (rows, groups), dtype=np.int8)
        self.values = self.whole_codes() * np.repeat(self.scales, self.size, axis=1)

    def fill_blocks(self, rng: np.random.Generator, rows: int, cols: int) -> None:
        """``w = code * scale + shift`` in one rounding: in double it is exact, or nearly."""
        self.size = {"b8": cols, "b6": cols}.get(self.dtype, 16 if "16" in self.dtype else 32)
        groups = -(-cols // self.size)
        high = 1 << int(self.dtype[1]) - 1
        low = -high
        self.stored = rng.integers(low, high, (rows, groups * self.size), dtype=np.int8)
        kinds = {"b8-16-shifts": ml_dtypes.bfloat16, "b4-shifts": np.float32}
        kind = kinds.get(self.dtype, np.float16)
        self.scales = rng.uniform(-0.1, 0.1, (rows, groups)).astype(kind).astype(np.float32)
        spread = np.repeat(self.scales, self.size, axis=1).astype(np.float64)
        shift = 0.0
        if "shifts" in self.dtype:
            self.stored += np.int8(0 if self.dtype.startswith("b8") else high)
            self.shifts = rng.uniform(-1, 1, (rows, groups)).astype(np.float32)
            shift = np.repeat(self.shifts, self.size, axis=1).astype(np.float64)
        self.values = (self.stored * spread + shift).astype(np.float32)

    def whole_codes(self) -> Array:
        """Codes less their zero points."""
        zeros = np.zeros_like(self.scales) if self.zeros is None else self.zeros
        codes = self.stored.astype(np.float32)
        return codes - np.repeat(zeros, codes.shape[1] // zeros.shape[1], axis=1)

    @property
    def cols(self) -> int:
        return self.stored.shape[1]

    def packed(self, isa: str) -> _core.Linear:
        kind = self.dtype.split("-")[0]
        return _core.Linear(
            POOL, self.stored, kind, self.scales, self.bias, isa, self.zeros, self.shifts
        )


def quantize(x: Array) -> tuple[Array, Array]:
    """compressed-tensors' dynamic per-token symmetric int8 in NumPy: codes, scales [T, 1]."""
    scales = np.abs(x).max(axis=1, keepdims=True) / np.float32(127.5)
    scales = np.where(scales == 0, np.finfo(np.float32).eps, scales).astype(np.float32)
    return np.rint(np.clip(x / scales, -128, 127)).astype(np.int64), scales


def int8_product(layer: Layer, x: Array) -> Array:
    """The sums in integers, then float32 in the order that the engine promises."""
    assert layer.scales is not None
    codes, x_scales = quantize(x)
    y = (codes @ layer.stored.T.astype(np.int64)).astype(np.float32) * (x_scales * layer.scales)
    return y if layer.bias is None else y + layer.bias


def fma(a: Array, b: Array, c: Array) -> Array:
    """In one rounding: extended doubles hold the product exactly, and nearly always the sum."""
    wide = np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(np.float32)


def wide_product(layer: Layer, x: Array) -> Array:
    """The sums of each step in integers, then float32 in the order that the engine promises."""
    assert layer.scales is not None
    codes, x_scales = widen(x)
    size = layer.cols // layer.scales.shape[1]
    y = np.zeros((len(x), len(layer.stored)), np.float32)
    weight = layer.stored.astype(np.int64)
    step = 16 if size == 16 else 32
    for group in range(0, layer.cols, size):
        for begin in range(group, group + size, step):
            end = min(begin + step, group + size)
            of_input = codes[:, begin:end]
            sums = (of_input @ weight[:, begin:end].T).astype(np.float32)
            scale = x_scales[:, begin // 32, None]
            y = fma(sums * layer.scales[:, group // size], scale, y)
            if layer.shifts is not None:
                total = of_input.sum(axis=1, keepdims=True).astype(np.float32) * scale
                y = fma(layer.shifts[:, group // size], total, y)
    return y if layer.bias is None else y + layer.bias


def int4_product(layer: Layer, x: Array) -> Array:
    """Group after group in float32: exact sums times scales, each addition in one rounding."""
    assert layer.scales is not None
    codes, x_scales = quantize(x)
    weight = layer.whole_codes().astype(np.int64)
    total = np.zeros((len(x), len(weight)), np.float32)
    for group, begin in enumerate(range(0, layer.cols, layer.size)):
        part = slice(begin, begin + layer.size)
        sums = codes[:, part] @ weight[:, part].T
        # In double the product is exact, and the sum loses none of the bits that decide the
        # rounding to float32, but in the rarest cases.
        total = (sums * layer.scales[:, group].astype(np.float64) + total).astype(np.float32)
    y = total * x_scales.astype(np.float32)
    return y if layer.bias is None else y + layer.bias


def rounding_bound(layer: Layer, x: Array) -> Array:
    """The most by which float products may differ from exact ones.

    A chain of n roundings: n u sum |x| |w| (Higham 2002, Accuracy and Stability, section 3.1).
    """
    size: Array = np.abs(x.astype(np.float64)) @ np.abs(layer.values.T)
    bias = 0 if layer.bias is None else np.abs(layer.bias)
    return (layer.cols + 1) * 2.0**-24 * (size + bias)


def rounds_inputs(isa: str, dtype: str) -> bool:
    """Whether products of this kind round their inputs to bfloat16."""
    return dtype == "bf16" and isa in ("avx512_bf16", "amx")


def bf16_product(isa: str, layer: Layer, x: Array) -> Array:
    """In the order of the instructions; products of two bfloat16 are exact in float32."""
    x = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    total = (in_tiles if isa == "amx" else in_pairs)(layer, x)
    return total if layer.bias is None else total + layer.bias


def in_pairs(layer: Layer, x: Array) -> Array:
    """One chain over pairs of columns, the second first."""
    total = np.zeros((len(x), len(layer.values)), np.float32)
    for pair in range(0, layer.cols, 2):
        for k in (pair + 1, pair)[pair + 1 == layer.cols :]:
            total += x[:, k, None] * layer.values[:, k]
    return total


def in_tiles(layer: Layer, x: Array) -> Array:
    """Of each 32 columns a chain of the even and one of the odd ones, then both and the rest."""
    total = np.zeros((len(x), len(layer.values)), np.float32)
    for begin in range(0, layer.cols, 32):
        chains = np.zeros((2, *total.shape), np.float32)
        for k in range(begin, min(begin + 32, layer.cols)):
            chains[k % 2] += x[:, k, None] * layer.values[:, k]
        total += chains[0] + chains[1]
    return total


def same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


# --- Against NumPy --------------------------------------------------------------------------------


@every_isa
@every_shape
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_int8_is_bit_equal_to_integer_arithmetic(isa: str, rows: int, cols: int, bias: bool):
    layer = Layer("i8", rows, cols, bias=bias)
    linear = layer.packed(isa)
    for tokens in (1, 5, 13):
        x = normal(tokens, tokens, cols)
        assert same_bits(linear.apply(POOL, x), int8_product(layer, x))


@every_isa
@every_shape
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.startswith("i4")])
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_int4_is_bit_equal_to_integer_arithmetic(
    isa: str, dtype: str, rows: int, cols: int, bias: bool
):
    layer = Layer(dtype, rows, cols, bias=bias)
    linear = layer.packed(isa)
    for tokens in (1, 5, 13):
        x = normal(tokens, tokens, layer.cols)
        assert same_bits(linear.apply(POOL, x), int4_product(layer, x))


@every_isa
@every_shape
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_float_weights_are_within_rounding(isa: str, dtype: str, rows: int, cols: int):
    layer = Layer(dtype, rows, cols, bias=True)
    x = normal(3, 7, cols)
    if rounds_inputs(isa, dtype):
        x = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    exact = x.astype(np.float64) @ layer.values.T.astype(np.float64) + layer.bias
    assert (np.abs(layer.packed(isa).apply(POOL, x) - exact) <= rounding_bound(layer, x)).all()


@pytest.mark.parametrize("isa", ISAS[1:])
@every_dtype
@every_shape
def test_every_isa_gives_the_bits_of_portable(isa: str, dtype: str, rows: int, cols: int):
    layer = Layer(dtype, rows, cols, bias=True)
    x = normal(4, 9, layer.cols)
    y = layer.packed(isa).apply(POOL, x)
    same = bf16_product(isa, layer, x) if rounds_inputs(isa, dtype) else None
    want = layer.packed("portable").apply(POOL, x) if same is None else same
    assert same_bits(y, want)


@every_isa
@every_shape
@pytest.mark.parametrize("dtype", BLOCKS)
def test_blocks_are_products_in_16_bits(isa: str, dtype: str, rows: int, cols: int):
    layer = Layer(dtype, rows, cols, bias=True)
    linear = layer.packed(isa)
    for tokens in (1, 5, 13, 140):
        x = normal(tokens, tokens, layer.cols)
        assert same_bits(linear.apply(POOL, x), wide_product(layer, x))


@every_isa
@pytest.mark.parametrize("dtype", BLOCKS)
def test_blocks_are_as_near_to_the_floats_as_16_bits_are(isa: str, dtype: str):
    """Beside a product in double, with inputs of which some stand out a thousandfold."""
    layer = Layer(dtype, 40, 1024)
    x = normal(7, 6, layer.cols)
    x[:, ::97] *= 1000
    exact = x.astype(np.float64) @ layer.values.T.astype(np.float64)
    padded = np.pad(np.abs(x), ((0, 0), (0, -layer.cols % 32)))
    largest = padded.reshape(len(x), -1, 32).max(axis=2).repeat(32, axis=1)[:, : layer.cols]
    bound = 2.0**-16 * largest @ np.abs(layer.values.T).astype(np.float64)
    chain = 2.0**-23 * (layer.cols / 16) * (np.abs(x) @ np.abs(layer.values.T))
    assert (np.abs(layer.packed(isa).apply(POOL, x) - exact) <= bound + chain).all()


@every_isa
def test_blocks_of_inputs_that_are_no_numbers_are_none_either(isa: str):
    layer = Layer("b4", 20, 96)
    x = normal(1, 4, 96)
    x[0, 40], x[1, 95], x[2] = np.nan, -np.inf, 0
    y = layer.packed(isa).apply(POOL, x)
    assert np.isnan(y[:2]).all()
    assert (y[2] == 0).all()
    assert np.isfinite(y[3]).all()
    tiny = layer.packed(isa).apply(POOL, np.full((1, 96), 1e-38, np.float32))
    assert (tiny == 0).all()


@every_isa
def test_sums_of_blocks_at_their_extremes_fit(isa: str):
    """Every code at its end, and every input its block's largest."""
    one = np.ones((16, 4), np.float32)
    x = np.stack([np.full(128, 32639, np.float32), np.full(128, -32639, np.float32)])
    for kind, code, shifts in [
        ("b8", -128, None),
        ("b8", 127, None),
        ("b6", 63, one * 0),
        ("b6", -32, None),
        ("b4", 15, one * 0),
    ]:
        weight = np.full((16, 128), code, np.int8)
        y = _core.Linear(POOL, weight, kind, one, None, isa, None, shifts).apply(POOL, x)
        assert (y[0] == np.float32(32639 * 32 * code) * 4).all()
        assert (y[1] == -y[0]).all()


@every_isa
def test_int8_sums_at_their_extremes_do_not_saturate(isa: str):
    """Where vpmaddubsw would clip: every product is 127 * -128 or -128 * -128."""
    cols = 65536
    weight = np.full((16, cols), -128, np.int8)
    linear = _core.Linear(POOL, weight, "i8", np.ones(16, np.float32), None, isa)
    x = np.stack([np.full(cols, 127.5, np.float32), np.full(cols, -127.5, np.float32)])
    y = linear.apply(POOL, x)
    assert (y[0] == -128 * 127 * cols).all()
    assert (y[1] == 128 * 128 * cols).all()


@every_isa
@pytest.mark.parametrize("size", [32, 64, 128])
def test_int4_sums_at_their_extremes_do_not_saturate(isa: str, size: int):
    """Where 16-bit sums are largest: every code 15 above its offset, every input -128 or 127."""
    cols = 8 * size
    x = np.stack([np.full(cols, 127.5, np.float32), np.full(cols, -127.5, np.float32)])
    for code, zero in [(7, -8), (-8, 7), (7, None), (-8, None)]:
        zeros = None if zero is None else np.full((16, 8), zero, np.int8)
        ones = np.ones((16, 8), np.float32)
        weight = np.full((16, cols), code, np.int8)
        linear = _core.Linear(POOL, weight, "i4", ones, None, isa, zeros)
        y = linear.apply(POOL, x)
        assert (y[0] == 127 * (code - (zero or 0)) * cols).all()
        assert (y[1] == -128 * (code - (zero or 0)) * cols).all()


@every_isa
@settings(max_examples=40)
@given(
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(1, 150),
    cols=st.integers(1, 300),
    tokens=st.integers(1, 40),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_shape(isa: str, dtype: str, rows: int, cols: int, tokens: int, bias: bool, seed: int):
    layer = Layer(dtype, rows, cols, bias=bias, seed=seed)
    x = normal(seed + 2, tokens, layer.cols)
    y = layer.packed(isa).apply(POOL, x)
    if dtype == "i8":
        assert same_bits(y, int8_product(layer, x))
    elif dtype.startswith("i4"):
        assert same_bits(y, int4_product(layer, x))
    elif rounds_inputs(isa, dtype):
        assert same_bits(y, bf16_product(isa, layer, x))
    elif dtype in BLOCKS:
        assert same_bits(y, wide_product(layer, x))
    else:
        exact = x.astype(np.float64) @ layer.values.T.astype(np.float64)
        exact += 0 if layer.bias is None else layer.bias
        assert (np.abs(y - exact) <= 1e-6 * cols + 1e-6).all()


# --- Batches and threads --------------------------------------------------------------------------


@every_isa
@every_dtype
@pytest.mark.parametrize(("rows", "cols"), [(131, 257), (64, 2100)], ids=["131x257", "64x2100"])
def test_a_row_does_not_see_its_batch(isa: str, dtype: str, rows: int, cols: int):
    linear = Layer(dtype, rows, cols, bias=True).packed(isa)
    x = normal(5, 300, linear.cols)
    together = linear.apply(POOL, x)
    for tokens in (1, 2, 5, 6, 7, 64):
        assert same_bits(linear.apply(POOL, x[:tokens]), together[:tokens])
        assert same_bits(linear.apply(POOL, x[300 - tokens :].copy()), together[300 - tokens :])


@every_isa
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_a_row_of_ggufs_types_sees_neither_batch_nor_isa(isa: str, kind: str):
    weight = normal(1, 70, 768)
    data, _ = encode(TYPES[kind], weight.shape, lambda rows: weight[rows])
    stored = data.reshape(len(weight), -1)
    linear, portable = (
        _core.Linear(POOL, stored, kind.lower(), None, None, name) for name in (isa, "portable")
    )
    x = normal(5, 300, 768)
    together = linear.apply(POOL, x)
    assert same_bits(together, portable.apply(POOL, x))
    for tokens in (1, 2, 5, 6, 7, 64):
        assert same_bits(linear.apply(POOL, x[:tokens]), together[:tokens])
    back = np.stack([linear.dequantize_row(row) for row in range(len(weight))])
    rounding = 2.0**-15 * np.abs(x).max() * np.abs(back).sum(axis=1)  # of inputs, to 16 bits
    assert (np.abs(together - x.astype(np.float64) @ back.T) <= rounding).all()


@every_dtype
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_a_row_does_not_see_the_threads(dtype: str, threads: int):
    linear = Layer(dtype, 300, 129).packed(ISAS[-1])
    x = normal(6, 10, linear.cols)
    assert same_bits(linear.apply(_core.ThreadPool(threads), x), linear.apply(POOL, x))


@every_isa
@every_dtype
def test_nan_and_infinity_stay_in_their_rows(isa: str, dtype: str):
    linear = Layer(dtype, 40, 33).packed(isa)
    x = normal(7, 8, linear.cols)
    clean = linear.apply(POOL, x)
    x[2, 5], x[6, 0] = np.nan, np.inf
    y = linear.apply(POOL, x)
    others = [0, 1, 3, 4, 5, 7]
    assert not np.isfinite(y[[2, 6]]).any()
    assert same_bits(y[others], clean[others])


@every_isa
@every_dtype
def test_accumulate_adds_the_old_value_last(isa: str, dtype: str):
    layer = Layer(dtype, 50, 37, bias=True)
    x, old = normal(8, 9, layer.cols), normal(9, 9, 50)
    plan = _core.Plan(POOL, isa, 16)
    values = []
    for table in (x, old):
        values.append(plan.value(table.shape[1]))
        plan.embedding(_core.Linear(POOL, table, "f32", None, None, isa), values[-1])
    linear = layer.packed(isa)
    plan.linear(values[0], [(linear, values[1])], accumulate=True)
    plan.output(values[1])
    every = np.arange(9, dtype=np.int32)
    pages = np.zeros((1, 1), np.int32)
    y = plan.step(
        _core.Cache(1, 1, 8, 16, 1), every, every, np.array([0, 9], np.int32), pages, every
    )
    assert same_bits(y, linear.apply(POOL, x) + old)


# --- Activations in int8 --------------------------------------------------------------------------


def dequantized(isa: str, x: Array) -> Array:
    """What the engine makes of x in int8: its product with the identity."""
    size = x.shape[1]
    ones = np.ones(size, np.float32)
    return _core.Linear(POOL, np.eye(size, dtype=np.int8), "i8", ones, None, isa).apply(POOL, x)


def fake_quantized(x: Array) -> Array:
    args = QuantizationArgs(
        num_bits=8, type="int", symmetric=True, strategy=QuantizationStrategy.TOKEN, dynamic=True
    )
    tensor = torch.from_numpy(x)[None]  # [batch, token, cols]: the strategy keeps the first two
    scale, zero = compute_dynamic_scales_and_zp(tensor, args, torch.nn.Identity())
    result: Array = fake_quantize(tensor, scale, zero, args)[0].numpy()
    return result


@every_isa
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    tokens=st.integers(1, 6),
    cols=st.integers(1, 100),
    exponent=st.integers(-148, 120),
    ties=st.booleans(),
)
def test_activations_are_quantized_as_compressed_tensors_does(
    isa: str, seed: int, tokens: int, cols: int, exponent: int, ties: bool
):
    """From subnormals to the largest floats, with a row of zeros, and on exact halves."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, cols)).astype(np.float32)
    if ties:
        x = rng.integers(-255, 256, (tokens, cols)).astype(np.float32) / 2
        x[:, 0] = -127.5  # scale 1: x / scale is x
    x = np.ldexp(x, exponent).astype(np.float32)
    x[0] *= seed % 3 != 0
    assert (dequantized(isa, x) == fake_quantized(x)).all()


def grouped_inputs_product(layer: Layer, x: Array) -> Array:
    """As `int4_product`, but each group's part meets a scale of its own inputs."""
    assert layer.scales is not None
    weight = layer.whole_codes().astype(np.int64)
    total = np.zeros((len(x), len(weight)), np.float32)
    for group, begin in enumerate(range(0, layer.cols, layer.size)):
        part = slice(begin, begin + layer.size)
        codes, x_scales = quantize(x[:, part])
        sums = (codes @ weight[:, part].T).astype(np.float32) * layer.scales[:, group]
        total = (sums * x_scales.astype(np.float64) + total).astype(np.float32)
    return total if layer.bias is None else total + layer.bias


@every_isa
@every_shape
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.startswith("i4")])
def test_inputs_with_scales_for_groups(isa: str, dtype: str, rows: int, cols: int):
    layer = Layer(dtype, rows, cols, bias=True)
    linear = _core.Linear(
        POOL, layer.stored, "i4", layer.scales, layer.bias, isa, layer.zeros, None, 0.0, layer.size
    )
    x = normal(3, 140, layer.cols)
    want = grouped_inputs_product(layer, x)
    for tokens in (1, 5, 13, 140):
        assert same_bits(linear.apply(POOL, x[:tokens]), want[:tokens])
    x[2, 7], x[6, 0] = np.nan, np.inf
    broken = linear.apply(POOL, x[:8])
    assert np.isnan(broken[[2, 6]]).all()
    assert same_bits(broken[[0, 1, 3, 4, 5, 7]], want[[0, 1, 3, 4, 5, 7]])


@every_isa
@pytest.mark.parametrize("size", [64, 128, 384])
@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (17, 3), (70, 2), (131, 9)])
def test_inputs_of_int8_with_scales_for_groups(isa: str, size: int, rows: int, groups: int):
    layer = Layer("i8", rows, size * groups, bias=True)
    assert layer.scales is not None
    assert layer.bias is not None
    linear = _core.Linear(
        POOL, layer.stored, "i8", layer.scales, layer.bias, isa, None, None, 0.0, size
    )
    x = normal(3, 140, layer.cols)
    total = np.zeros((140, rows), np.float32)
    for begin in range(0, layer.cols, size):
        part = slice(begin, begin + size)
        codes, x_scales = quantize(x[:, part])
        sums = codes @ layer.stored[:, part].T.astype(np.int64)
        # Exact in double but for the rarest sums, as in int4_product().
        total = (sums.astype(np.float32) * x_scales.astype(np.float64) + total).astype(np.float32)
    want = total * layer.scales + layer.bias
    for tokens in (1, 5, 13, 140):
        assert same_bits(linear.apply(POOL, x[:tokens]), want[:tokens])
    for row in {0, rows - 1}:
        assert same_bits(linear.dequantize_row(row), layer.values[row])
    x[2, 7], x[6, 0] = np.nan, np.inf
    broken = linear.apply(POOL, x[:8])
    assert np.isnan(broken[[2, 6]]).all()
    assert same_bits(broken[[0, 1, 3, 4, 5, 7]], want[[0, 1, 3, 4, 5, 7]])


@every_isa
def test_int8_groups_at_their_extremes_do_not_saturate(isa: str):
    codes = np.full((16, 2048), -128, np.int8)
    linear = _core.Linear(
        POOL, codes, "i8", np.ones(16, np.float32), None, isa, None, None, 0.0, 1024
    )
    x = np.full((9, 2048), -127.5, np.float32)  # scale 1, codes -128
    assert (linear.apply(POOL, x) == 128 * 128 * 2048).all()


@every_isa
@pytest.mark.parametrize("dtype", ["i8", "i4-zeros"])
def test_static_scales_saturate_and_are_bit_equal(isa: str, dtype: str):
    layer, scale = Layer(dtype, 40, 130, bias=True), np.float32(0.0123)
    kind = dtype.split("-")[0]
    linear = _core.Linear(
        POOL, layer.stored, kind, layer.scales, layer.bias, isa, layer.zeros, None, float(scale)
    )
    x = normal(3, 9, layer.cols)
    x[4] = 0
    x[5] *= 1e30
    assert (np.abs(x / scale) > 128).any()

    def static(_: Array) -> tuple[Array, Array]:
        return np.rint(np.clip(x / scale, -128, 127)).astype(np.int64), np.full((9, 1), scale)

    product = int8_product if dtype == "i8" else int4_product
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "quantize", static)
        want = product(layer, x)
    y = linear.apply(POOL, x)
    assert same_bits(y, want)
    x[2, 7], x[6, 0] = np.nan, np.inf
    broken = linear.apply(POOL, x)
    assert np.isnan(broken[[2, 6]]).all()
    assert same_bits(broken[[0, 1, 3, 4, 5, 7, 8]], y[[0, 1, 3, 4, 5, 7, 8]])


@pytest.mark.parametrize("scale", [-1.0, np.nan, np.inf], ids=str)
def test_unusable_static_scales_are_refused(scale: float):
    codes, ones = np.zeros((2, 32), np.int8), np.ones((2, 1), np.float32)
    with pytest.raises(ValueError, match="must be a positive number"):
        _core.Linear(POOL, codes, "i8", ones, None, ISAS[-1], None, None, scale)
    with pytest.raises(ValueError, match="only for weights that meet int8"):
        _core.Linear(POOL, codes, "b8", ones, None, ISAS[-1], None, None, 0.5)
    with pytest.raises(ValueError, match="groups of 32 columns, as the weight has, not 64"):
        _core.Linear(POOL, codes, "i4", ones, None, ISAS[-1], None, None, 0.0, 64)
    for size in (32, 96, 128, -64, 2048):
        with pytest.raises(ValueError, match="a multiple of 64, up to 1024, that divides 32"):
            _core.Linear(POOL, codes, "i8", ones, None, ISAS[-1], None, None, 0.0, size)
    with pytest.raises(ValueError, match="only inputs that are quantized to int8 as they come"):
        _core.Linear(POOL, codes, "b8", ones, None, ISAS[-1], None, None, 0.0, 64)
    with pytest.raises(ValueError, match="only inputs that are quantized to int8 as they come"):
        _core.Linear(POOL, codes, "i8", ones, None, ISAS[-1], None, None, 0.5, 64)


# --- Packing --------------------------------------------------------------------------------------


@every_isa
@every_dtype
@every_shape
def test_rows_come_back_dequantized(isa: str, dtype: str, rows: int, cols: int):
    layer = Layer(dtype, rows, cols)
    linear = layer.packed(isa)
    back = np.stack([linear.dequantize_row(row) for row in range(rows)])
    assert same_bits(back, layer.values)


@every_isa
def test_every_f16_is_widened_exactly(isa: str):
    """All 65,536 of them (NaNs as NaN), subnormals and infinities included."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    linear = _core.Linear(POOL, bits[:, None].copy(), "f16", None, None, isa)
    want = bits.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(linear.apply(POOL, np.ones((1, 1), np.float32))[0], want)
    some = range(0, 1 << 16, 97)
    back = np.array([linear.dequantize_row(row)[0] for row in some])
    np.testing.assert_array_equal(back, want[list(some)])


def test_packed_size_is_the_weight_and_little_more():
    linear = Layer("i8", 4864, 896).packed(ISAS[-1])
    assert 4864 * 896 <= linear.nbytes <= 1.02 * 4864 * 896
    assert Layer("b4", 4864, 896).packed(ISAS[-1]).nbytes * 8 == 4.5 * 4864 * 896
    six = Layer("b6", 4864, 896).packed(ISAS[-1]).nbytes * 8
    assert six == (6 + 16 / 896) * 4864 * 896
    assert Layer("b4-shifts", 4864, 896).packed(ISAS[-1]).nbytes * 8 == 6 * 4864 * 896


@every_isa
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("i4", 4 + 16 / 32), ("i4-zeros", 4 + 24 / 32), ("i4-64", 4 + 16 / 64),
        ("i4-64-bf16-zeros", 4 + 24 / 64), ("i4-128-bf16", 4 + 16 / 128),
        ("i4-128-zeros", 4 + 24 / 128),
    ],
)  # fmt: skip
def test_int4_takes_its_codes_and_scales(isa: str, dtype: str, bits: float):
    """And a byte for a zero point."""
    assert Layer(dtype, 48, 896).packed(isa).nbytes * 8 == bits * 48 * 896


@pytest.mark.parametrize(
    ("kind", "stored", "bits"),
    [
        ("q4_0", 18, 4 + 16 / 32), ("q4_1", 20, 4 + 48 / 32), ("q5_0", 22, 6 + 16 / 32),
        ("q5_1", 24, 6 + 48 / 32), ("q8_0", 34, 8 + 16 / 32), ("q4_k", 144, 4 + 16 / 32 + 32 / 256),
        ("q5_k", 176, 6 + 16 / 32 + 32 / 256), ("q6_k", 210, 6 + 8 / 16 + 16 / 256),
    ],
)  # fmt: skip
def test_ggufs_types_take_their_bits(kind: str, stored: int, bits: float):
    """Those of K types keep scales in units of superblocks."""
    blocks = 512 // (32 if stored < 100 else 256)
    data = np.zeros((16, blocks * stored), np.uint8)
    packed = _core.Linear(POOL, data, kind, None, None, ISAS[-1])
    assert packed.nbytes * 8 == bits * 16 * 512
    assert (packed.rows, packed.cols) == (16, 512)


# --- Rows in a file -------------------------------------------------------------------------------


def in_file(path: Path, before: int, array: Array) -> _core.File:
    path.write_bytes(b"x" * before + array.tobytes())
    with path.open("rb") as file:
        return _core.File(file.fileno(), str(path))


@every_isa
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8", "i4", "b8", "b6", "b4"])
@pytest.mark.parametrize("rows", [1, 37])
def test_rows_in_a_file_are_packed_as_in_memory(isa: str, dtype: str, rows: int, tmp_path: Path):
    layer = Layer(dtype, rows, 192)
    file, element = in_file(tmp_path / "rows", 13, layer.stored), layer.stored.dtype.name
    lazy = _core.FileRows(file, 13, rows, 192, element)
    assert (lazy.rows, lazy.columns, lazy.element) == (rows, 192, element)
    found = _core.Linear(_core.ThreadPool(2), lazy, dtype, layer.scales, layer.bias, isa)
    want = layer.packed(isa)
    x = normal(9, 5, 192)
    assert same_bits(found.apply(POOL, x), want.apply(POOL, x))
    assert found.nbytes == want.nbytes


@pytest.mark.parametrize("dtype", ["i8", "i4", "b4"])
def test_pairs_of_codes_in_a_file(dtype: str, tmp_path: Path):
    """As compressed-tensors packs them: code + 8, the first in the lower half of a byte."""
    layer = Layer("i4" if dtype == "i4" else "b4", 37, 192)
    if dtype == "i8":
        layer.scales = layer.scales[:, :1].copy()
    codes = (layer.stored + 8).astype(np.uint8)
    file = in_file(tmp_path / "rows", 4, codes[:, ::2] | codes[:, 1::2] << 4)
    lazy = _core.FileRows(file, 4, 37, 192, "int4")
    found = _core.Linear(POOL, lazy, dtype, layer.scales, layer.bias, ISAS[-1])
    x = normal(9, 5, 192)
    want = _core.Linear(POOL, layer.stored, dtype, layer.scales, layer.bias, ISAS[-1])
    assert same_bits(found.apply(POOL, x), want.apply(POOL, x))


def test_blocks_in_a_file(tmp_path: Path):
    data = np.random.default_rng(1).integers(0, 60, (40, 210), np.uint8)
    lazy = _core.FileRows(in_file(tmp_path / "rows", 8, data), 8, 40, 210, "uint8")
    x = normal(2, 3, 256)
    want = _core.Linear(POOL, data, "q6_k", None, None, ISAS[-1]).apply(POOL, x)
    assert same_bits(_core.Linear(POOL, lazy, "q6_k", None, None, ISAS[-1]).apply(POOL, x), want)


def test_a_file_that_ends_before_its_rows_says_so(tmp_path: Path):
    path = tmp_path / "rows"
    file = in_file(path, 0, np.zeros((40, 64), np.float32))
    with pytest.raises(_core.ReadError, match="rows: is shorter than it says"):
        _core.Linear(POOL, _core.FileRows(file, 4, 40, 64, "float32"), "f32", None, None, ISAS[-1])
    os.truncate(path, 3000)
    with pytest.raises(OSError, match="rows: is shorter than it says"):
        _core.Linear(POOL, _core.FileRows(file, 0, 40, 64, "float32"), "f32", None, None, ISAS[-1])


def test_a_file_that_cannot_be_opened_again_says_so():
    with pytest.raises(OSError, match="Bad file descriptor: 'gone'"):
        _core.File(-1, "gone")


def test_threads_that_pack_from_a_file_allocate_nothing():
    """An exception in one would end the process; memory that is short is an error instead."""
    limited = """
import resource, sys, tempfile
import numpy as np
from lichen import _core
pool, file = _core.ThreadPool(2), tempfile.TemporaryFile()
file.truncate(1 << 30)
rows = _core.FileRows(_core.File(file.fileno(), "sparse"), 0, 64, 1 << 22, "float32")
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30) + (200 << 20),) * 2)
try:
    _core.Linear(pool, rows, "f32", None, None, "portable")
except MemoryError:
    sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-c", limited], timeout=60, check=False).returncode == 7


def test_rows_that_do_not_fit_are_refused(tmp_path: Path):
    file, scales = in_file(tmp_path / "rows", 0, np.zeros(999, np.int8)), np.ones(1, np.float32)
    for offset, columns, element in ((0, 3, "int4"), (0, 4, "int16"), (-1, 4, "int8")):
        with pytest.raises(ValueError, match=r"cannot be read|no rows at offset"):
            _core.FileRows(file, offset, 1, columns, element)
    with pytest.raises(ValueError, match="must be made of float32"):
        lazy = _core.FileRows(file, 0, 1, 4, "int8")
        _core.Linear(POOL, lazy, "f32", None, None, ISAS[-1])
    with pytest.raises(ValueError, match="only int4 codes from -8 on"):
        lazy, shifts = _core.FileRows(file, 0, 1, 32, "int4"), np.ones((1, 1), np.float32)
        _core.Linear(POOL, lazy, "b4", scales[None], None, ISAS[-1], None, shifts)
    with pytest.raises(ValueError, match="needs scales"):
        _core.Linear(POOL, lazy, "i4", None, None, ISAS[-1])


@pytest.mark.parametrize(
    ("codes", "scales", "zeros", "words"),
    [
        ((2, 96), (2, 2), None, "groups must have 32, 64 or 128 columns, not 48"),
        ((2, 96), (2, 5), None, "scales of 5 columns do not fit 96 columns"),
        ((2, 64), (3, 2), None, "one number for each of the 2 rows"),
        ((2, 64), (2, 2), (2, 1), "zeros must have the shape of the scales"),
    ],
    ids=["groups-of-48", "uneven", "rows", "zeros"],
)
def test_unusable_groups_are_refused(codes: Any, scales: Any, zeros: Any, words: str):
    shift = None if zeros is None else np.zeros(zeros, np.int8)
    with pytest.raises(ValueError, match=words):
        _core.Linear(
            POOL, np.zeros(codes, np.int8), "i4", np.ones(scales, np.float32), None, ISAS[-1], shift
        )


def test_unusable_blocks_are_refused():
    def pack(codes: Array, kind: str, scales: Array, shifts: Array | None) -> None:
        _core.Linear(POOL, codes, kind, scales, None, ISAS[-1], None, shifts)

    codes, ones = np.zeros((2, 96), np.int8), np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="16, 32, 64, 128 or all columns, not 48"):
        pack(codes, "b8", ones[:, :2].copy(), None)
    with pytest.raises(ValueError, match="shifts must have the shape of the scales"):
        pack(codes, "b8", ones, ones[:, :1].copy())
    with pytest.raises(ValueError, match="only weights in blocks take shifts"):
        pack(codes, "i4", ones, ones)
    with pytest.raises(ValueError, match="needs scales"):
        _core.Linear(POOL, codes, "b8", None, None, ISAS[-1])
    with pytest.raises(ValueError, match="must be 0 to 15"):
        pack(codes - np.int8(1), "b4", ones, ones)
    with pytest.raises(ValueError, match="must be -8 to 7"):
        pack(codes + np.int8(8), "b4", ones, None)
    with pytest.raises(ValueError, match="must be 0 to 63"):
        pack(codes - np.int8(1), "b6", ones, ones)
    with pytest.raises(ValueError, match="must be -32 to 31"):
        pack(codes + np.int8(32), "b6", ones, None)


def test_int4_numbers_out_of_range_are_refused():
    ones, zeros = np.ones((2, 1), np.float32), np.zeros((2, 1), np.int8)
    codes = np.zeros((2, 32), np.int8)
    codes[1, 31] = 8
    with pytest.raises(ValueError, match="must be -8 to 7"):
        _core.Linear(POOL, codes, "i4", ones, None, ISAS[-1])
    with pytest.raises(ValueError, match="must be -8 to 7"):
        _core.Linear(POOL, codes * 0, "i4", ones, None, ISAS[-1], zeros + np.int8(-9))
    with pytest.raises(ValueError, match="numbers of float16, or all of bfloat16"):
        _core.Linear(POOL, codes * 0, "i4", ones * np.float32(0.1), None, ISAS[-1])
    with pytest.raises(ValueError, match="only an int4 weight takes zero points"):
        _core.Linear(POOL, codes, "i8", ones, None, ISAS[-1], zeros)


@pytest.mark.parametrize("isa", ISAS)
def test_every_16_bit_scale_is_kept(isa: str):
    """All float16 and bfloat16 whose products are finite, as scales of a code of 1."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    for kind in (np.float16, ml_dtypes.bfloat16):
        scales = bits.view(kind).astype(np.float32)
        scales = scales[np.abs(scales) < 1e36][:, None]
        codes = np.ones((len(scales), 32), np.int8)
        linear = _core.Linear(POOL, codes, "i4", scales, None, isa)
        x = np.zeros((1, 32), np.float32)
        x[0, 0] = 127.5
        np.testing.assert_array_equal(linear.apply(POOL, x)[0], (127 * scales)[:, 0])


@pytest.mark.parametrize(
    ("weight", "dtype", "scales", "words"),
    [
        (np.zeros((1, 65537), np.int8), "i8", np.ones(1, np.float32), "too wide"),
        (np.zeros((2, 2), np.int8), "i8", None, "needs scales"),
        (np.zeros((2, 2), np.float32), "f32", np.ones(2, np.float32), "needs scales"),
        (np.zeros((0, 2), np.float32), "f32", None, "cannot be 0 x 2"),
    ],
    ids=["too wide for int32", "i8 without scales", "f32 with scales", "no rows"],
)
def test_unusable_weights_are_refused(weight: Array, dtype: str, scales: Array | None, words: str):
    with pytest.raises(ValueError, match=words):
        _core.Linear(POOL, weight, dtype, scales, None, ISAS[-1])


def test_a_pool_needs_a_thread():
    with pytest.raises(ValueError, match="at least 1 thread"):
        _core.ThreadPool(0)
