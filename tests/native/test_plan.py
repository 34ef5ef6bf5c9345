"""Every operation of a native plan against NumPy in float64, and bit-equality between batches."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import erf

from lichen import _core
from lichen.schemes import int4
from lichen.solvers import mse, native

Array = npt.NDArray[Any]
Build = Callable[[_core.Plan, list[int]], int]

ISAS = _core.supported_isas()
MAX_TOKENS = 96
PAGE = 16
POOLS = {threads: _core.ThreadPool(threads) for threads in (1, 2, 3)}


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int32)


def float_linear(isa: str, weight: Array, bias: Array | None = None) -> _core.Linear:
    return _core.Linear(POOLS[1], weight, "f32", None, bias, isa)


def run_rows(isa: str, inputs: Sequence[Array], build: Build, threads: int = 2) -> Array:
    """Feed rows through one operation: inputs are embedding tables, and token i takes row i."""
    tokens = len(inputs[0])
    plan = _core.Plan(POOLS[threads], isa, max(MAX_TOKENS, tokens))
    values = []
    for table in inputs:
        values.append(plan.value(table.shape[1]))
        plan.embedding(float_linear(isa, table), values[-1])
    plan.output(build(plan, values))
    plan.fill(np.nan)
    every = np.arange(tokens, dtype=np.int32)
    pages = np.arange(-(-tokens // PAGE), dtype=np.int32)[None]
    cache = _core.Cache(1, 1, 8, PAGE, pages.size)
    return plan.step(cache, every, every, ints(0, tokens), pages, every)


# --- Operations on rows ---------------------------------------------------------------------------

WIDTHS = [1, 7, 16, 40, 896]


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm(isa: str, width: int) -> None:
    x, weight = normal(1, 5, width) * 3, normal(2, width)

    def build(plan: _core.Plan, values: list[int]) -> int:
        out = plan.value(width)
        plan.rms_norm(values[0], out, weight, 1e-5)
        return out

    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(run_rows(isa, [x], build), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("width", WIDTHS)
def test_layer_norm(isa: str, width: int) -> None:
    x, weight, bias = normal(1, 5, width) + 4, normal(2, width), normal(3, width)

    def build(plan: _core.Plan, values: list[int]) -> int:
        out = plan.value(width)
        plan.layer_norm(values[0], out, weight, bias, 1e-5)
        return out

    wide = x.astype(np.float64)
    apart = wide - wide.mean(1, keepdims=True)
    expected = apart / np.sqrt((apart**2).mean(1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(run_rows(isa, [x], build), expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("width", WIDTHS)
def test_add(isa: str, width: int) -> None:
    x, y = normal(1, 5, width), normal(2, 5, width)

    def build(plan: _core.Plan, values: list[int]) -> int:
        out = plan.value(width)
        plan.add(values[0], values[1], out)
        return out

    np.testing.assert_array_equal(run_rows(isa, [x, y], build), x + y)


def all_magnitudes(rows: int, width: int) -> Array:
    """Numbers from -80 to 80, evenly and down to the smallest."""
    count = rows * width
    even = np.linspace(-80, 80, count - count // 2)
    tiny = np.geomspace(1e-30, 80, count // 2) * np.resize([1, -1], count // 2)
    return np.concatenate([even, tiny]).reshape(rows, width).astype(np.float32)


def test_silu_mul_is_exact_to_4_ulp(isa: str) -> None:
    gate = all_magnitudes(90, 301)
    up = np.ones_like(gate)

    def build(plan: _core.Plan, values: list[int]) -> int:
        out = plan.value(301)
        plan.silu_mul(values[0], values[1], out)
        return out

    wide = gate.astype(np.float64)
    expected = wide / (1 + np.exp(-wide))
    error = np.abs(run_rows(isa, [gate, up], build) - expected)
    assert (error / np.spacing(np.abs(expected).astype(np.float32))).max() <= 4


@pytest.mark.parametrize("approximate", [False, True], ids=["erf", "tanh"])
def test_gelu(isa: str, approximate: bool) -> None:
    x = all_magnitudes(90, 301)
    x[0, :9] = [0, -0.0, np.inf, np.nan, 1, -1, 5.5, -5.5, 88]

    def build(plan: _core.Plan, values: list[int]) -> int:
        out = plan.value(301)
        plan.gelu(values[0], out, approximate)
        return out

    wide = x.astype(np.float64)
    if approximate:
        turn = np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3))
    else:
        turn = erf(wide / np.sqrt(2))
    result = run_rows(isa, [x], build)
    np.testing.assert_allclose(result, 0.5 * wide * (1 + turn), rtol=1e-6, atol=3e-7)


def rotated(
    x: Array, positions: Array, inv_freq: Array, heads: int, scale: float, interleaved: bool
) -> Array:
    """Rotary embedding, pair by pair, in complex numbers."""
    split = x.astype(np.float64).reshape(len(x), heads, -1)
    pairs = len(inv_freq)
    index = np.arange(pairs)
    first, second = (2 * index, 2 * index + 1) if interleaved else (index, index + pairs)
    angles = (positions[:, None].astype(np.float32) * inv_freq).astype(np.float64)
    turned = (split[..., first] + 1j * split[..., second]) * scale * np.exp(1j * angles)[:, None]
    result = split.copy()
    result[..., first], result[..., second] = turned.real, turned.imag
    return result.reshape(x.shape)


@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])
@pytest.mark.parametrize(
    ("head_dim", "pairs"), [(64, 32), (20, 10), (40, 13), (2, 1)], ids=lambda n: str(n)
)
def test_rope(isa: str, interleaved: bool, head_dim: int, pairs: int) -> None:
    heads = 3
    x = normal(1, 60, heads * head_dim)
    inv_freq = (10000.0 ** (-np.arange(pairs) / pairs)).astype(np.float32)

    def build(plan: _core.Plan, values: list[int]) -> int:
        plan.rope(values[0], heads, head_dim, inv_freq, 1.25, interleaved)
        return values[0]

    expected = rotated(x, np.arange(60), inv_freq, heads, 1.25, interleaved)
    np.testing.assert_allclose(run_rows(isa, [x], build), expected, rtol=1e-6, atol=1e-6)


# --- Linear layers, embedding, selection ----------------------------------------------------------


def test_embedding_takes_the_rows_of_any_dtype(isa: str) -> None:
    table = normal(1, 9, 24)
    half = table.astype(np.float16)
    codes = np.clip(np.round(table * 40), -127, 127).astype(np.int8)
    scales = np.abs(normal(2, 9)) + 0.1
    tables = [
        (float_linear(isa, table), table),
        (_core.Linear(POOLS[1], half.view(np.uint16), "f16", None, None, isa), half),
        (_core.Linear(POOLS[1], codes, "i8", scales, None, isa), codes * scales[:, None]),
    ]
    for linear, expected in tables:
        plan = _core.Plan(POOLS[2], isa, 8)
        out = plan.value(24)
        plan.embedding(linear, out)
        plan.output(out)
        result = plan.step(
            _core.Cache(1, 1, 8, PAGE, 1), ints(8, 0, 3), ints(0, 1, 2), ints(0, 3),
            np.zeros((1, 1), np.int32), ints(0, 1, 2),
        )  # fmt: skip
        np.testing.assert_array_equal(result, expected[[8, 0, 3]].astype(np.float32))


def test_linear_with_bias_then_accumulated(isa: str) -> None:
    x, first, second = normal(1, 33, 40), normal(2, 50, 40), normal(3, 50, 40)
    bias = normal(4, 50)

    def build(plan: _core.Plan, values: list[int]) -> int:
        out = plan.value(50)
        plan.linear(values[0], [(float_linear(isa, first, bias), out)])
        plan.linear(values[0], [(float_linear(isa, second), out)], accumulate=True)
        return out

    expected = x.astype(np.float64) @ (first + second.astype(np.float64)).T + bias
    np.testing.assert_allclose(run_rows(isa, [x], build), expected, rtol=1e-5, atol=2e-5)


def quantized_product(x: Array, codes: Array, scales: Array) -> Array:
    """Dynamic int8 per row, as compressed-tensors does it, and exact sums."""
    step = np.abs(x).max(1, keepdims=True) / np.float32(127.5)
    rounded = np.clip(np.round(x / step), -128, 127).astype(np.int64)
    return (rounded @ codes.astype(np.int64).T).astype(np.float32) * (step * scales)


def test_int8_and_float_products_of_one_input(isa: str) -> None:
    x, weight = normal(1, 19, 72), normal(2, 30, 72)
    codes = np.random.default_rng(3).integers(-127, 128, (41, 72), dtype=np.int8)
    scales = np.abs(normal(4, 41)) / 100

    def build(plan: _core.Plan, values: list[int]) -> int:
        wide, narrow, up, down = (plan.value(41), plan.value(30), plan.value(41), plan.value(41))
        quantized = _core.Linear(POOLS[1], codes, "i8", scales, None, isa)
        plan.linear(values[0], [(quantized, wide), (float_linear(isa, weight), narrow)])
        plan.linear(narrow, [(float_linear(isa, np.zeros((41, 30), np.float32)), up)])
        plan.add(wide, up, down)
        return down

    np.testing.assert_allclose(
        run_rows(isa, [x], build), quantized_product(x, codes, scales), rtol=1e-6
    )


def test_select_rows_then_norm(isa: str) -> None:
    x = normal(1, 12, 20)
    weight = normal(2, 20)
    plan = _core.Plan(POOLS[2], isa, 16)
    everything, chosen, out = plan.value(20), plan.value(20), plan.value(20)
    plan.embedding(float_linear(isa, x), everything)
    plan.select_rows(everything, chosen)
    plan.rms_norm(chosen, out, weight, 1e-6)
    plan.output(out)
    plan.fill(np.nan)
    every = np.arange(12, dtype=np.int32)
    cache, pages = _core.Cache(1, 1, 8, PAGE, 1), np.zeros((1, 1), np.int32)
    result = plan.step(cache, every, every, ints(0, 12), pages, ints(11, 3, 3))
    wide = x[[11, 3, 3]].astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-6) * weight
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=1e-7)
    none = plan.step(cache, every, every, ints(0, 12), pages, ints())
    assert none.shape == (0, 20)


# --- Attention ------------------------------------------------------------------------------------


class Attention:
    """One attention layer whose q, k and v are embeddings of the token's id."""

    def __init__(
        self,
        isa: str,
        heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        threads: int = 2,
        sharpness: float = 2.0,
        dtype: str = "float32",
        key_units: Array | None = None,
        broken: tuple[str, float] | None = None,
    ) -> None:
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.dtype = dtype
        self.units = np.ones(kv_heads * head_dim, np.float32) if key_units is None else key_units
        self.q = normal(1, 300, heads * head_dim) * np.float32(sharpness)
        self.k = normal(2, 300, kv_heads * head_dim)
        self.v = normal(3, 300, kv_heads * head_dim)
        if broken:
            getattr(self, broken[0])[5, 3] = broken[1]
        self.scale = head_dim**-0.5
        self.plan = _core.Plan(POOLS[threads], isa, 400)
        values = []
        for table in (self.q, self.k, self.v):
            values.append(self.plan.value(table.shape[1]))
            self.plan.embedding(float_linear(isa, table), values[-1])
        out = self.plan.value(heads * head_dim)
        self.plan.attention(*values, out, 1, heads, kv_heads, head_dim, self.scale, key_units)
        self.plan.output(out)
        self.plan.fill(np.nan)

    def cache(self, pages: int, page_tokens: int = PAGE) -> _core.Cache:
        cache = _core.Cache(2, self.kv_heads, self.head_dim, page_tokens, pages, self.dtype)
        cache.fill(np.nan)
        return cache

    def expected(self, ids: Array) -> Array:
        """All positions of one sequence, in float64."""
        group = self.heads // self.kv_heads
        shape = (len(ids), -1, self.head_dim)
        k = self.stored(self.k / self.units) * self.units
        tables = (self.q, k, self.stored(self.v))
        q, k, v = (table[ids].astype(np.float64).reshape(shape) for table in tables)
        scores = np.einsum("qhd,khd->hqk", q, k.repeat(group, 1)) * self.scale
        scores[:, ~np.tri(len(ids), dtype=bool)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return np.einsum("hqk,khd->qhd", weights, v.repeat(group, 1)).reshape(len(ids), -1)

    def stored(self, table: Array) -> Array:
        """Keys or values as the cache holds them."""
        if self.dtype == "float16":
            return table.astype(np.float16).astype(np.float32)
        if self.dtype == "float32":
            return table
        heads = table.reshape(-1, self.head_dim)
        scales = np.abs(heads).max(1, keepdims=True) / np.float32(127)
        codes = np.rint(heads * (np.float32(1) / scales))
        return (codes * scales).reshape(table.shape)

    def step(
        self, cache: _core.Cache, parts: Sequence[tuple[Array, int, int]], pages: Array
    ) -> list[Array]:
        """Run ids[begin:end] of each sequence in one step; the outputs, sequence by sequence."""
        ids = np.concatenate([ids[begin:end] for ids, begin, end in parts])
        positions = np.concatenate([np.arange(begin, end) for _, begin, end in parts])
        starts = np.cumsum([0] + [end - begin for _, begin, end in parts])
        every = np.arange(len(ids), dtype=np.int32)
        out = self.plan.step(
            cache, ids, positions.astype(np.int32), starts.astype(np.int32), pages, every
        )
        return [out[a:b] for a, b in pairwise(starts)]


def sequence(seed: int, length: int) -> Array:
    return np.random.default_rng(seed).integers(0, 300, length).astype(np.int32)


def shuffled_pages(sequences: int, length: int, page_tokens: int = PAGE) -> Array:
    pages = sequences * -(-length // page_tokens)
    order = np.random.default_rng(9).permutation(pages).astype(np.int32)
    return order.reshape(sequences, -1)


SHAPES = [(14, 2, 64), (4, 4, 8), (9, 3, 20), (3, 1, 1), (2, 1, 130), (40, 1, 16), (80, 1, 33)]


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SHAPES, ids=str)
def test_attention_of_ragged_sequences(isa: str, heads: int, kv_heads: int, head_dim: int) -> None:
    layer = Attention(isa, heads, kv_heads, head_dim)
    lengths = [1, 17, 64, 150]
    sequences = [sequence(seed, length) for seed, length in enumerate(lengths)]
    pages = shuffled_pages(len(lengths), max(lengths))
    parts = [(ids, 0, len(ids)) for ids in sequences]
    results = layer.step(layer.cache(pages.size), parts, pages)
    for ids, result in zip(sequences, results, strict=True):
        np.testing.assert_allclose(result, layer.expected(ids), rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [*SHAPES[:3], SHAPES[-1]], ids=str)
def test_attention_over_a_smaller_cache(
    isa: str, heads: int, kv_heads: int, head_dim: int, dtype: str
) -> None:
    """Nothing is lost but in storing keys and values; one row at a time and in tiles of several."""
    layer = Attention(isa, heads, kv_heads, head_dim, dtype=dtype)
    ids, pages = sequence(1, 150), shuffled_pages(1, 150)
    cache = layer.cache(pages.size)
    results = [layer.step(cache, [(ids, *span)], pages)[0] for span in [(0, 149), (149, 150)]]
    np.testing.assert_allclose(np.concatenate(results), layer.expected(ids), rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_attention_gives_the_same_bits_on_every_instruction_set(dtype: str) -> None:
    """Across a segment's end, in tiles of many rows and of one.

    But for amx, which rounds the queries of the caches it multiplies from position 512 on.
    """
    ids, pages = sequence(1, 1100), shuffled_pages(1, 1100)
    results = []
    for name in ISAS:
        layer = Attention(name, 7, 1, 20, dtype=dtype)
        cache = layer.cache(pages.size)
        spans = [(0, 400), (400, 800), (800, 1099), (1099, 1100)]
        results.append([layer.step(cache, [(ids, *span)], pages)[0] for span in spans])
    for name, other in zip(ISAS[1:], results[1:], strict=True):
        for (begin, _), ours, theirs in zip(spans, results[0], other, strict=True):
            rounded = name == "amx" and dtype != "float32"
            same = max(0, 512 - begin) if rounded else len(ours)
            np.testing.assert_array_equal(ours[:same], theirs[:same])
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_int8_keys_in_units(isa: str) -> None:
    units = np.exp2(np.arange(16) % 8 - 3).astype(np.float32)
    ids, pages = sequence(1, 60), shuffled_pages(1, 60)
    layer = Attention(isa, 4, 1, 16, dtype="int8", key_units=units)
    (result,) = layer.step(layer.cache(pages.size), [(ids, 0, 60)], pages)
    np.testing.assert_allclose(result, layer.expected(ids), rtol=2e-5, atol=5e-6)


def test_a_half_holds_what_numpy_says(isa: str) -> None:
    """One key alone has weight 1: the output is its value, as it was stored."""
    edges = np.array(
        [0, -0.0, 1e-9, 3e-8, 6.1e-5, 6.1036e-5, 1 / 3, 2049, 65504, 65519], np.float32
    )
    values = np.concatenate([edges, -edges, normal(4, 12) * np.exp2(np.arange(-24, 12, 3))])
    layer = Attention(isa, 1, 1, 32, dtype="float16")
    plan, names = _core.Plan(POOLS[1], isa, 4), [0, 1, 2, 3]
    for _ in names:
        plan.value(32)
    table = values.astype(np.float32)[None]
    for name, rows in zip(names[:3], (table * 0, table * 0, table), strict=True):
        plan.embedding(float_linear(isa, np.ascontiguousarray(rows)), name)
    plan.attention(0, 1, 2, 3, 1, 1, 1, 32, 1.0)
    plan.output(3)
    pages = np.zeros((1, 1), np.int32)
    result = plan.step(layer.cache(1), ints(0), ints(0), ints(0, 1), pages, ints(0))
    expected = np.clip(table, -65504, 65504).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dtype"),
    [(4, 1, "int8"), (2, 2, "float32"), (6, 2, "float16")],
    ids=str,
)
def test_long_sequences_are_equal_however_they_are_shared_out(
    isa: str, heads: int, kv_heads: int, dtype: str
) -> None:
    """Segments of 1024 positions by several threads, against one thread after the other."""
    ids, pages = sequence(1, 1240), shuffled_pages(1, 1240)
    whole = Attention(isa, heads, kv_heads, 16, dtype=dtype)
    alone = Attention(isa, heads, kv_heads, 16, dtype=dtype, threads=3)
    cache, other = whole.cache(pages.size), alone.cache(pages.size)
    expected = whole.expected(ids)
    for begin in range(0, 1240, 400):
        end = min(begin + 400, 1240)
        (chunk,) = whole.step(cache, [(ids, begin, end)], pages)
        # From position 512 on, amx multiplies 16 of a query's 24 bits.
        atol = 1e-4 if isa == "amx" and dtype != "float32" else 5e-6
        np.testing.assert_allclose(chunk, expected[begin:end], rtol=2e-5, atol=atol)
        for at in (begin, end - 1):
            (single,) = whole.step(cache, [(ids, at, at + 1)], pages)
            np.testing.assert_array_equal(single[0], chunk[at - begin])
        (same,) = alone.step(other, [(ids, begin, end)], pages)
        np.testing.assert_array_equal(same, chunk)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("table", ["k", "v"])
def test_a_broken_number_is_not_hidden_by_int8(isa: str, table: str, bad: float) -> None:
    layer = Attention(isa, 2, 1, 8, dtype="int8", broken=(table, bad))
    ids = np.array([1, 5, 2], np.int32)
    (result,) = layer.step(layer.cache(1), [(ids, 0, 3)], np.zeros((1, 1), np.int32))
    assert np.isfinite(result[0]).all()
    assert np.isnan(result[1:]).all()


def test_attention_with_scores_too_large_for_exp(isa: str) -> None:
    layer = Attention(isa, 2, 1, 8, sharpness=1000.0)
    ids = sequence(1, 200)
    (result,) = layer.step(layer.cache(13), [(ids, 0, 200)], shuffled_pages(1, 200))
    np.testing.assert_allclose(result, layer.expected(ids), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SHAPES[:4], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_attention_is_equal_in_any_batch(
    isa: str, heads: int, kv_heads: int, head_dim: int, threads: int
) -> None:
    """Alone and whole, against in chunks, among others, in other pages, with other threads."""
    ids = sequence(1, 300)
    whole = Attention(isa, heads, kv_heads, head_dim)
    (expected,) = whole.step(whole.cache(19), [(ids, 0, 300)], shuffled_pages(1, 300))

    layer = Attention(isa, heads, kv_heads, head_dim, threads=threads)
    other = sequence(2, 300)
    pages = shuffled_pages(2, 300, page_tokens=48)
    cache = layer.cache(pages.size, page_tokens=48)
    for begin, end in [(0, 7), (7, 8), (8, 130), (130, 131), (131, 297), (297, 298), (298, 300)]:
        neighbour = (other, begin, begin + 1)
        result = layer.step(cache, [neighbour, (ids, begin, end)], pages)[1]
        np.testing.assert_array_equal(result, expected[begin:end])


def test_a_shared_prefix_is_read_from_its_pages(isa: str) -> None:
    layer = Attention(isa, 4, 2, 16)
    prefix = sequence(1, 2 * PAGE)
    first, second = (np.concatenate([prefix, sequence(seed, 5)]) for seed in (2, 3))
    cache = layer.cache(5)
    layer.step(cache, [(prefix, 0, 2 * PAGE)], np.array([[4, 0]], np.int32))
    pages = np.array([[4, 0, 1], [4, 0, 2]], np.int32)
    results = layer.step(cache, [(first, 32, 37), (second, 32, 37)], pages)
    for ids, result in zip((first, second), results, strict=True):
        np.testing.assert_allclose(result, layer.expected(ids)[32:], rtol=1e-5, atol=3e-6)


# --- A gate and what it gates ---------------------------------------------------------------------


def packed(isa: str, kind: str, seed: int, rows: int, cols: int, threads: int) -> _core.Linear:
    """A weight of some kind; i8-64, i8-128, t4: inputs have a scale for 64 or 128 columns."""
    weight, pool = normal(seed, rows, cols) / np.float32(np.sqrt(cols)), POOLS[threads]
    if kind == "bf16":
        bits = weight.astype(ml_dtypes.bfloat16).view(np.uint16)
        return _core.Linear(pool, bits, "bf16", None, normal(seed + 9, rows), isa)
    if kind == "i4":
        tensor = mse.solve(weight, int4.SCHEME)
        return _core.Linear(pool, tensor.codes, "i4", tensor.scales, None, isa)
    if kind == "f32":
        return _core.Linear(pool, weight, "f32", None, None, isa)
    if kind == "t4":
        words = native.encode_trellis(weight).words
        return _core.Linear(pool, words, "t4", None, None, isa, input_group=128)
    if kind in ("b4", "b6", "b8"):  # blocks of 32, symmetric
        high = 1 << int(kind[1]) - 1
        blocks = np.random.default_rng(seed).integers(-high, high, (rows, cols), np.int8)
        spread = np.abs(normal(seed, rows, cols // 32)) / np.float32(high)
        return _core.Linear(pool, blocks, kind, spread, None, isa)
    scales = np.abs(weight).max(1) / np.float32(127)
    codes = np.round(weight / scales[:, None]).astype(np.int8)
    group = int(kind.partition("-")[2] or 0)
    return _core.Linear(pool, codes, "i8", scales, None, isa, None, None, 0.0, group)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "kinds",
    [
        ("f32", "f32"),
        ("bf16", "bf16"),
        ("i8", "i8"),
        ("i8-64", "i8-64"),
        ("i4", "i4"),
        ("t4", "t4"),
        ("i8", "f32"),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("tokens", [1, 70, 255, 1020])
def test_a_gate_in_pieces_is_the_gate_as_a_whole(
    isa: str, kinds: tuple[str, str], tokens: int, threads: int
) -> None:
    """To the last bit, in any pieces; also where the two are cut differently."""
    x, rows = normal(1, tokens, 128), 301
    x[::3, 5] = 400
    gate, up = (packed(isa, kind, 2 + i, rows, 128, threads) for i, kind in enumerate(kinds))

    def in_pieces(plan: _core.Plan, values: list[int]) -> int:
        out = plan.value(rows)
        plan.gated(values[0], gate, up, out)
        return out

    def whole(plan: _core.Plan, values: list[int]) -> int:
        left, right, out = plan.value(rows), plan.value(rows), plan.value(rows)
        plan.linear(values[0], [(gate, left), (up, right)])
        plan.silu_mul(left, right, out)
        return out

    expected = run_rows(isa, [x], whole, threads)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(run_rows(isa, [x], in_pieces, threads), expected)


# --- Weights of several kinds behind one input ----------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "kinds",
    [
        ("i8", "b4"),  # inputs in 8 bits and in 16
        ("b6", "i8"),
        ("i8-64", "b8", "b4"),
        ("i4", "b4", "i8"),
        ("f32", "i8", "bf16", "b6", "i4"),
        ("i8-128", "t4"),  # which alone reads what codes leave of lopsided rows
        ("t4", "b8", "i8-128"),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("tokens", [1, 5, 70, 255])
def test_weights_that_share_an_input_do_not_disturb_each_other(
    isa: str, kinds: tuple[str, ...], tokens: int, threads: int
) -> None:
    """Each gives the bits that it gives alone, in whatever forms the others read the input."""
    x, rows = normal(1, tokens, 256), 77
    x[::3, 5] = 400
    weights = [packed(isa, kind, 2 + i, rows, 256, threads) for i, kind in enumerate(kinds)]

    def of(number: int, readers: Sequence[int]) -> Array:
        def build(plan: _core.Plan, values: list[int]) -> int:
            outs = {reader: plan.value(rows) for reader in readers}
            plan.linear(values[0], [(weights[reader], out) for reader, out in outs.items()])
            return outs[number]

        return run_rows(isa, [x], build, threads)

    every = range(len(kinds))
    for number, kind in enumerate(kinds):
        alone = of(number, [number])
        assert np.isfinite(alone).all()
        np.testing.assert_array_equal(of(number, every), alone, err_msg=kind)


# --- A whole block --------------------------------------------------------------------------------


class Block:
    """One transformer block and a head in one weight type, as the engine would build it."""

    heads, kv_heads, head_dim, vocab = 6, 2, 20, 90

    def __init__(self, isa: str, dtype: str, threads: int) -> None:
        self.isa, self.dtype = isa, dtype
        self.pool = POOLS[threads]
        if dtype == "i4":  # whole groups
            self.width, self.inner, self.head_dim = 64, 96, 16
        else:
            self.width, self.inner = 72, 100
        attended, shared = self.heads * self.head_dim, self.kv_heads * self.head_dim
        inv_freq = (10000.0 ** (-np.arange(8) / 8)).astype(np.float32)
        plan = self.plan = _core.Plan(self.pool, isa, MAX_TOKENS)
        x, h = plan.value(self.width), plan.value(self.width)
        q, k, v = plan.value(attended), plan.value(shared), plan.value(shared)
        a, gate, up = plan.value(attended), plan.value(self.inner), plan.value(self.inner)
        last, normed = plan.value(self.width), plan.value(self.width)
        logits = plan.value(self.vocab)
        ones = np.ones(self.width, np.float32)
        plan.embedding(float_linear(isa, normal(1, self.vocab, self.width)), x)
        for layer in range(2):
            seed = 10 * layer
            plan.rms_norm(x, h, ones, 1e-6)
            plan.linear(
                h,
                [
                    (self.linear(seed + 2, attended, self.width), q),
                    (self.linear(seed + 3, shared, self.width), k),
                    (self.linear(seed + 4, shared, self.width), v),
                ],
            )
            plan.rope(q, self.heads, self.head_dim, inv_freq, 1.0, interleaved=False)
            plan.rope(k, self.kv_heads, self.head_dim, inv_freq, 1.0, interleaved=False)
            plan.attention(q, k, v, a, layer, self.heads, self.kv_heads, self.head_dim, 0.25)
            plan.linear(a, [(self.linear(seed + 5, self.width, attended), x)], accumulate=True)
            plan.rms_norm(x, h, ones, 1e-6)
            plan.linear(
                h,
                [
                    (self.linear(seed + 6, self.inner, self.width), gate),
                    (self.linear(seed + 7, self.inner, self.width), up),
                ],
            )
            plan.silu_mul(gate, up, gate)
            plan.linear(gate, [(self.linear(seed + 8, self.width, self.inner), x)], accumulate=True)
        plan.select_rows(x, last)
        plan.rms_norm(last, normed, ones, 1e-6)
        plan.linear(normed, [(self.linear(9, self.vocab, self.width), logits)])
        plan.output(logits)
        plan.fill(np.nan)

    def linear(self, seed: int, rows: int, cols: int) -> _core.Linear:
        weight = normal(seed, rows, cols) / np.float32(np.sqrt(cols))
        if self.dtype == "f32":
            return _core.Linear(self.pool, weight, "f32", None, None, self.isa)
        if self.dtype == "i4":
            tensor = mse.solve(weight, int4.SCHEME)
            return _core.Linear(self.pool, tensor.codes, "i4", tensor.scales, None, self.isa)
        scales = np.abs(weight).max(1) / np.float32(127)
        codes = np.round(weight / scales[:, None]).astype(np.int8)
        return _core.Linear(self.pool, codes, "i8", scales, None, self.isa)

    def cache(self) -> _core.Cache:
        cache = _core.Cache(2, self.kv_heads, self.head_dim, PAGE, 40)
        cache.fill(np.nan)
        return cache


def whole_prompt(block: Block, ids: Array) -> Array:
    every = np.arange(len(ids), dtype=np.int32)
    pages = np.arange(-(-len(ids) // PAGE), dtype=np.int32)[None]
    return block.plan.step(block.cache(), ids, every, ints(0, len(ids)), pages, every)


@pytest.mark.parametrize("dtype", ["f32", "i8", "i4"])
def test_a_model_is_equal_alone_chunked_and_among_others(isa: str, dtype: str) -> None:
    prompt = np.random.default_rng(5).integers(0, Block.vocab, 70).astype(np.int32)
    expected = whole_prompt(Block(isa, dtype, threads=1), prompt)
    assert np.isfinite(expected).all()

    block = Block(isa, dtype, threads=2)
    cache = block.cache()
    pages = np.random.default_rng(6).permutation(40).astype(np.int32).reshape(4, 10)
    for begin, end in [(0, 33), (33, 34), (34, 69), (69, 70)]:
        # Three neighbours take another token each; the rows are asked for in reverse.
        ids = np.concatenate([[1, 2], prompt[begin:end], [3]]).astype(np.int32)
        positions = np.concatenate([[begin, begin], np.arange(begin, end), [begin]])
        size = end - begin
        rows = np.arange(2, 2 + size, dtype=np.int32)[::-1].copy()
        result = block.plan.step(
            cache, ids, positions.astype(np.int32), ints(0, 1, 2, 2 + size, 3 + size), pages, rows
        )
        np.testing.assert_array_equal(result, expected[begin:end][::-1])


@pytest.mark.parametrize("dtype", ["f32", "i8", "i4"])
def test_a_model_is_equal_on_every_instruction_set(dtype: str) -> None:
    prompt = np.random.default_rng(5).integers(0, Block.vocab, 70).astype(np.int32)
    results = [whole_prompt(Block(isa, dtype, threads=2), prompt) for isa in ISAS]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_the_profile_names_the_phases() -> None:
    block = Block(ISAS[-1], "i8", threads=1)
    whole_prompt(block, ints(1, 2, 3))
    profile = block.plan.profile
    names = {"waiting", "linear", "attention", "rms_norm+quantize", "silu_mul+quantize"}
    assert names <= set(profile)
    assert all(seconds >= 0 for seconds in profile.values())


# --- What is refused ------------------------------------------------------------------------------

GOOD: dict[str, Array] = {
    "ids": ints(5, 6, 7, 8, 9),
    "positions": ints(0, 1, 2, 15, 16),
    "starts": ints(0, 3, 5),
    "pages": np.array([[3, -1], [1, 2]], np.int32),
    "rows": ints(2, 4),
}


@pytest.fixture(scope="module")
def layer() -> Attention:
    return Attention(ISAS[0], 4, 2, 8)


def test_a_good_step_is_accepted(layer: Attention) -> None:
    assert layer.plan.step(layer.cache(4), **GOOD).shape == (2, 32)


def test_a_step_without_tokens_returns_no_rows(layer: Attention) -> None:
    no_pages = np.zeros((0, 1), np.int32)
    result = layer.plan.step(layer.cache(4), ints(), ints(), ints(0), no_pages, ints())
    assert result.shape == (0, 32)


def test_a_result_is_not_touched_by_later_steps(layer: Attention) -> None:
    first = layer.plan.step(layer.cache(4), **GOOD)
    before = first.copy()
    layer.plan.step(layer.cache(4), **{**GOOD, "ids": ints(1, 2, 3, 4, 5)})
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ids": ints(5, 6, 300, 8, 9)}, r"ids\[2\] is 300; allowed are 0 to 299"),
        ({"ids": ints(5, -1, 7, 8, 9)}, r"ids\[1\] is -1"),
        ({"ids": ints(5, 6, 7, 8)}, "same length"),
        ({"positions": ints(0, 1, 3, 15, 16)}, "sequence 0 must be consecutive"),
        ({"positions": ints(2, 1, 0, 15, 16)}, "sequence 0 must be consecutive"),
        ({"positions": ints(-1, 0, 1, 15, 16)}, "begins at position -1"),
        ({"positions": ints(0, 1, 2, 31, 32)}, "needs 3 pages of 16 tokens; it was given 2"),
        ({"positions": ints(0, 1, 2, 2**31 - 2, 2**31 - 1)}, "pages of 16 tokens"),
        ({"starts": ints(0, 3, 4)}, "must end with the number of tokens, 5"),
        ({"starts": ints(1, 3, 5)}, "must begin with 0"),
        ({"starts": ints(0, 0, 5)}, "sequence 0 has no tokens"),
        ({"starts": ints(0, 6, 5)}, "sequence 1 has no tokens"),
        ({"starts": ints(0, 5)}, "one number more"),
        ({"pages": np.array([[3, -1], [1, 4]], np.int32)}, r"pages\[1\]\[1\] is 4"),
        ({"pages": np.array([[-1, 0], [1, 2]], np.int32)}, r"pages\[0\]\[0\] is -1"),
        ({"pages": np.array([[1, 0], [1, 2]], np.int32)}, "page 1 would be written twice"),
        ({"rows": ints(2, 5)}, r"rows\[1\] is 5"),
        ({"rows": ints(-1)}, r"rows\[0\] is -1"),
        ({"rows": np.zeros(401, np.int32)}, "401 rows are more"),
    ],
)
def test_bad_steps_are_refused_in_words(
    layer: Attention, change: dict[str, Array], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        layer.plan.step(layer.cache(4), **{**GOOD, **change})


def test_too_many_tokens_are_refused(layer: Attention) -> None:
    every = np.arange(401, dtype=np.int32)
    pages = np.arange(26, dtype=np.int32)[None]
    with pytest.raises(ValueError, match="401 tokens are more than the plan's max_tokens, 400"):
        layer.plan.step(layer.cache(26), every % 300, every, ints(0, 401), pages, ints())


def test_another_element_type_is_refused(layer: Attention) -> None:
    with pytest.raises(TypeError):
        layer.plan.step(layer.cache(4), **{**GOOD, "ids": GOOD["ids"].astype(np.int64)})


def test_a_cache_of_another_shape_is_refused(layer: Attention) -> None:
    with pytest.raises(ValueError, match="needs a cache of 2 layers, 2 KV heads of 8"):
        layer.plan.step(_core.Cache(1, 2, 8, PAGE, 4), **GOOD)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 1, 8, 16, 1), "layers must be at least 1"),
        ((1, 1, 8, 24, 1), "page_tokens must be a multiple of 16, not 24"),
        ((1, 1, 8, 16, -2), "pages must be at least 1, not -2"),
    ],
)
def test_bad_caches_are_refused(arguments: tuple[int, int, int, int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _core.Cache(*arguments)


def test_a_cache_larger_than_any_memory_is_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        _core.Cache(2**31, 2**31, 2**30, 16, 2**30)


# --- Parts of models ------------------------------------------------------------------------------


def part(isa: str, threads: int = 2) -> _core.Plan:
    """Takes x and y [8]; taps x, then x + y written over it, and the rows of a table."""
    plan = _core.Plan(POOLS[threads], isa, MAX_TOKENS)
    x, y, rows = plan.value(8), plan.value(8), plan.value(5)
    plan.input(x)
    plan.input(y)
    plan.tap(x)
    plan.add(x, y, x)
    plan.tap(x)
    plan.embedding(float_linear(isa, normal(3, 4, 5)), rows)
    plan.tap(rows)
    plan.finish()
    plan.fill(np.nan)
    return plan


def relayed(plan: _core.Plan, inputs: Sequence[Array], ids: Array) -> list[Array]:
    tokens = np.arange(len(ids), dtype=np.int32)
    pages = np.arange(-(-len(ids) // PAGE), dtype=np.int32)[None]
    cache = _core.Cache(1, 1, 8, PAGE, pages.size)
    taps = [np.full((len(ids), width), np.nan, np.float32) for width in (8, 8, 5)]
    plan.relay(cache, ids, tokens, ints(0, len(ids)), pages, inputs, taps)
    return taps


def test_a_part_takes_values_in_and_gives_them_out(isa: str) -> None:
    x, y, ids = normal(1, 37, 8), normal(2, 37, 8), ints(*(i % 4 for i in range(37)))
    before, after, rows = relayed(part(isa), [x, y], ids)
    np.testing.assert_array_equal(before, x)
    np.testing.assert_array_equal(after, x + y)
    np.testing.assert_array_equal(rows, normal(3, 4, 5)[ids])


@pytest.mark.parametrize(
    ("taps", "words"),
    [
        ([normal(1, 3, 8)], "the plan has 3 taps, not 1"),
        ([normal(1, 3, 8), normal(1, 2, 8), normal(1, 3, 5)], r"tap 1 is \[2, 8\]; .* \[3, 8\]"),
    ],
)
def test_taps_of_another_shape_are_refused(taps: list[Array], words: str) -> None:
    tokens, inputs = ints(0, 1, 2), [normal(1, 3, 8), normal(2, 3, 8)]
    cache = _core.Cache(1, 1, 8, PAGE, 1)
    with pytest.raises(ValueError, match=words):
        part(ISAS[-1]).relay(cache, tokens, tokens, ints(0, 3), ints(0)[None], inputs, taps)


def test_taps_that_could_not_be_written_to_are_refused() -> None:
    """A copy of what does not lie in rows would be written, and lost."""
    tokens, inputs = ints(0, 1, 2), [normal(1, 3, 8), normal(2, 3, 8)]
    taps = [normal(1, 3, 8), normal(1, 8, 3).T, normal(1, 3, 5)]
    cache = _core.Cache(1, 1, 8, PAGE, 1)
    with pytest.raises(TypeError, match="incompatible"):
        part(ISAS[-1]).relay(cache, tokens, tokens, ints(0, 3), ints(0)[None], inputs, taps)


@pytest.mark.parametrize(
    ("inputs", "ids", "words"),
    [
        ([normal(1, 3, 8)], ints(0, 0, 0), "the plan has 2 inputs, not 1"),
        ([normal(1, 3, 8), normal(1, 3, 9)], ints(0, 0, 0), r"input 1 is \[3, 9\]; .* \[3, 8\]"),
        ([normal(1, 2, 8), normal(1, 3, 8)], ints(0, 0, 0), r"input 0 is \[2, 8\]; .* \[3, 8\]"),
        ([normal(1, 3, 8), normal(2, 3, 8)], ints(0, 4, 0), r"ids\[1\] is 4"),
    ],
)
def test_bad_inputs_are_refused(inputs: list[Array], ids: Array, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        relayed(part(ISAS[-1]), inputs, ids)


def test_a_part_has_no_output_to_step_for() -> None:
    tokens, pages = ints(0, 1), ints(0)[None]
    cache = _core.Cache(1, 1, 8, PAGE, 1)
    with pytest.raises(ValueError, match="no output"):
        part(ISAS[-1]).step(cache, tokens, tokens, ints(0, 2), pages, tokens)


def unwritten(plan: _core.Plan) -> None:
    plan.add(plan.value(8), plan.value(8), plan.value(8))


def no_such_value(plan: _core.Plan) -> None:
    plan.output(7)


def written(plan: _core.Plan, width: int) -> int:
    value = plan.value(width)
    plan.embedding(float_linear(ISAS[0], normal(1, 4, width)), value)
    return value


def wrong_width(plan: _core.Plan) -> None:
    plan.gelu(written(plan, 8), plan.value(9), False)


def wrong_columns(plan: _core.Plan) -> None:
    plan.linear(written(plan, 8), [(float_linear(ISAS[0], normal(1, 4, 9)), plan.value(4))])


def own_input(plan: _core.Plan) -> None:
    x = written(plan, 8)
    plan.linear(x, [(float_linear(ISAS[0], normal(1, 8, 8)), x)])


def gate_over_its_input(plan: _core.Plan) -> None:
    x, square = written(plan, 8), float_linear(ISAS[0], normal(1, 8, 8))
    plan.gated(x, square, square, x)


def gate_of_another_shape(plan: _core.Plan) -> None:
    x = written(plan, 8)
    gate, up = (float_linear(ISAS[0], normal(1, rows, 8)) for rows in (9, 5))
    plan.gated(x, gate, up, plan.value(9))


def before_selection(plan: _core.Plan) -> None:
    x, chosen = written(plan, 8), plan.value(8)
    plan.select_rows(x, chosen)
    plan.add(x, chosen, chosen)


def rope_too_wide(plan: _core.Plan) -> None:
    plan.rope(written(plan, 8), 2, 4, np.ones(3, np.float32), 1.0, False)


def unequal_groups(plan: _core.Plan) -> None:
    q, k, v = written(plan, 24), written(plan, 16), written(plan, 16)
    plan.attention(q, k, v, plan.value(24), 0, 3, 2, 8, 1.0)


def after_output(plan: _core.Plan) -> None:
    plan.output(written(plan, 8))
    plan.value(8)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (unwritten, "value 0 is read before anything is written"),
        (no_such_value, "there is no value 7"),
        (wrong_width, "value 1 has width 9; this operation writes 8"),
        (wrong_columns, "the input has width 8, the weight 9 columns"),
        (own_input, "cannot write its own input"),
        (gate_over_its_input, "gated cannot write its own input"),
        (gate_of_another_shape, "gate and up have widths 9 and 5"),
        (before_selection, "belongs to the rows before select_rows"),
        (rope_too_wide, "3 inverse frequencies do not fit heads of 4"),
        (unequal_groups, "heads must be a multiple of KV heads"),
        (after_output, "the plan has its output"),
    ],
)
def test_bad_plans_are_refused_in_words(build: Callable[[_core.Plan], None], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(_core.Plan(POOLS[1], ISAS[0], 8))


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'sse9' cannot run here; this machine has portable"):
        _core.Plan(POOLS[1], "sse9", 8)
