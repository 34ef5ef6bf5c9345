"""Encoders of GGUF's block types: layout against the `gguf` package, error against ggml's own."""

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lichen.checkpoint.gguf_blocks import BlockType, Bytes
from lichen.checkpoint.gguf_encode import (
    ENCODERS,
    SYMMETRIC,
    TYPES,
    Floats,
    encode,
    encode_codes,
    holds,
)
from lichen.schemes import Scheme, dequantize
from lichen.solvers import absmax
from lichen.tensor import QuantizedTensor

BLOCKED = [TYPES[name] for name in ENCODERS if TYPES[name].blocked]

#: Relative squared error of llama.cpp 0.3.36's own quantizers (`ggml_quantize_chunk`, no importance
#: matrix) on `weights(0)`, which is normal, and `weights(1)`, which has heavy tails.
GGML_ERROR = {
    "Q4_0": (7.3661e-03, 1.3341e-02),
    "Q4_1": (6.0820e-03, 8.6546e-03),
    "Q5_0": (1.8146e-03, 3.3268e-03),
    "Q5_1": (1.4311e-03, 2.0522e-03),
    "Q8_0": (2.8526e-05, 5.2077e-05),
    "Q4_K": (5.0708e-03, 7.4407e-03),
    "Q5_K": (1.2970e-03, 1.9292e-03),
    "Q6_K": (3.1108e-04, 5.1414e-04),
}


def ids(block: BlockType) -> str:
    return block.name


def weights(kind: int) -> Floats:
    rng = np.random.default_rng(kind)
    if kind == 0:
        return rng.standard_normal((64, 1024), dtype=np.float32)
    return rng.standard_t(4, (64, 1024)).astype(np.float32)


def encoded(block: BlockType, x: Floats) -> tuple[Bytes, float]:
    return encode(block, x.shape, lambda rows: x[rows])


def decoded(block: BlockType, data: Bytes, shape: tuple[int, ...]) -> Floats:
    """By the gguf package and by lichen, which must agree to the bit."""
    theirs = gguf.quants.dequantize(data, GgmlType(block.number))
    ours = block.decode(data.reshape(-1), shape)
    np.testing.assert_array_equal(ours, theirs.reshape(shape))
    return ours


@pytest.mark.parametrize("block", BLOCKED, ids=ids)
@pytest.mark.parametrize("kind", [0, 1], ids=["normal", "heavy"])
def test_error_is_no_greater_than_ggmls(block: BlockType, kind: int) -> None:
    x = weights(kind)
    data, error = encoded(block, x)
    actual = np.square(decoded(block, data, x.shape) - x).sum() / np.square(x).sum()
    assert error == pytest.approx(actual, rel=1e-4)
    assert error <= GGML_ERROR[block.name][kind]


@pytest.mark.parametrize("block", [b for b in BLOCKED if b.weights == 32], ids=ids)
def test_no_row_is_worse_than_by_the_gguf_package(block: BlockType) -> None:
    x = weights(0)
    rounded = gguf.quants.quantize(x, GgmlType(block.number))
    theirs = np.square(block.decode(rounded.reshape(-1), x.shape) - x).sum(axis=1)
    ours = np.square(decoded(block, encoded(block, x)[0], x.shape) - x).sum(axis=1)
    assert (ours < theirs).all()


ROWS = st.sampled_from([
    np.zeros(256), np.full(256, 3.7), np.full(256, -0.01), np.linspace(-1, 1, 256),
    np.linspace(5, 6, 256), -np.linspace(5, 6, 256), np.eye(1, 256, 77)[0] * 1e4,
    np.repeat(np.logspace(-6, 2, 8), 32), np.full(256, 1e-12), np.full(256, 6e-8),
    np.tile([1e-38, -1e-38], 128), np.full(256, 3e4),
])  # fmt: skip


@pytest.mark.parametrize("block", BLOCKED, ids=ids)
@settings(max_examples=40, deadline=None)
@given(
    x=st.lists(ROWS, min_size=1, max_size=5).map(np.stack)
    | arrays(np.float32, (3, 256), elements=st.floats(-100, 100, width=32))
)
def test_any_weights_stay_within_a_step(block: BlockType, x: Floats) -> None:
    """Of the outermost weights; beside it scales cost, which float16 has in steps of 2^-24."""
    x = x.astype(np.float32)
    data, _ = encoded(block, x)
    stored = decoded(block, data, x.shape).reshape(-1, block.weights)
    parts = x.reshape(-1, block.weights)
    reach = np.abs(parts).max(axis=1, keepdims=True)
    steps = {"Q4": 15, "Q5": 31, "Q6": 63, "Q8": 255}[block.name[:2]]
    # Scales of K types have few bits of their own; ranges are fitted to the mean error.
    allowed = 2.2 * 2 * reach / steps + (reach / 20 if block.weights == 256 else 0) + 2**-18
    assert (np.abs(stored - parts) <= allowed).all()


@pytest.mark.parametrize("block", BLOCKED, ids=ids)
def test_blocks_do_not_see_their_neighbours(block: BlockType) -> None:
    x = weights(1)[:7, :768]
    whole, _ = encoded(block, x)
    for row in range(7):
        alone, _ = encoded(block, x[row : row + 1])
        np.testing.assert_array_equal(alone[0], whole[row])


@pytest.mark.parametrize("name", SYMMETRIC)
def test_weights_on_codes_are_kept(name: str) -> None:
    """Where the outermost weight has the outermost code, the first range that is tried is exact."""
    rng, low = np.random.default_rng(3), SYMMETRIC[name]
    codes = rng.integers(low, -low, (20, 128)).astype(np.float32)
    codes[:, ::32] = low
    x = codes * np.float32(0.0078125) * rng.choice([-3, 1, 5], (20, 1)).astype(np.float32)
    data, error = encoded(TYPES[name], x)
    assert error == 0
    np.testing.assert_array_equal(decoded(TYPES[name], data, x.shape), x)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_plain_floats(name: str) -> None:
    x = weights(1)
    data, error = encoded(TYPES[name], x)
    kept = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}[name]
    np.testing.assert_array_equal(TYPES[name].decode(data.reshape(-1), x.shape), x.astype(kept))
    assert error <= {"F32": 0, "F16": 1e-7, "BF16": 1e-5}[name]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    x = weights(0)
    x[3, 5] = bad
    with pytest.raises(ValueError, match="not finite"):
        encoded(TYPES[name], x)


@pytest.mark.parametrize("name", ["F16", "Q4_0", "Q4_1", "Q5_0", "Q8_0"])
def test_weights_beyond_float16_are_refused(name: str) -> None:
    x = weights(0)
    x[0, 0] = 1e9
    with pytest.raises(ValueError, match=f"too large for {name}"):
        encoded(TYPES[name], x)


# --- weights that are quantized already --------------------------------------------------------


def quantized(scheme: Scheme) -> QuantizedTensor:
    return absmax.solve(weights(1)[:, :256], scheme)


def scheme(bits: int, *, symmetric: bool = True, size: int | None = 32) -> Scheme:
    granularity = "group" if size else "channel"
    return Scheme(bits, symmetric, granularity, size, "float16")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("Q4_0", scheme(4)),
        ("Q4_0", scheme(4, size=128)),
        ("Q5_0", scheme(4)),
        ("Q5_0", scheme(4, symmetric=False)),
        ("Q8_0", scheme(4, symmetric=False, size=64)),
        ("Q8_0", scheme(8, size=None)),
        ("Q8_0", scheme(8)),
    ],
    ids=str,
)
def test_codes_are_kept_exactly(name: str, stored: Scheme) -> None:
    tensor = quantized(stored)
    assert holds(TYPES[name], stored, 256)
    data, error = encode_codes(TYPES[name], tensor)
    assert error == 0
    np.testing.assert_array_equal(decoded(TYPES[name], data, (64, 256)), dequantize(tensor))


def test_zero_points_become_shifts() -> None:
    tensor = quantized(scheme(4, symmetric=False))
    data, error = encode_codes(TYPES["Q4_1"], tensor)
    assert 0 < error < 1e-6  # a product of scale and zero point has more bits than float16
    np.testing.assert_allclose(
        decoded(TYPES["Q4_1"], data, (64, 256)), dequantize(tensor), rtol=0, atol=0.01
    )
    blocks = data.reshape(-1, 20)
    codes = tensor.codes.reshape(-1, 32) + 8
    np.testing.assert_array_equal(blocks[:, 4:] & 15, codes[:, :16])
    np.testing.assert_array_equal(blocks[:, 4:] >> 4, codes[:, 16:])


def test_q4_0_is_int4_bit_for_bit() -> None:
    tensor = quantized(scheme(4))
    blocks = encode_codes(TYPES["Q4_0"], tensor)[0].reshape(-1, 18)
    scales = np.ascontiguousarray(blocks[:, :2]).view(np.float16)
    np.testing.assert_array_equal(scales.astype(np.float32), tensor.scales.reshape(-1, 1))
    codes = (tensor.codes.reshape(-1, 32) + 8).view(np.uint8)
    np.testing.assert_array_equal(blocks[:, 2:], codes[:, :16] | codes[:, 16:] << 4)


@pytest.mark.parametrize(
    ("name", "stored", "columns"),
    [
        ("Q4_0", scheme(4, symmetric=False), 256),
        ("Q4_0", scheme(8), 256),
        ("Q8_0", scheme(8, symmetric=False), 256),
        ("Q8_0", scheme(8, size=None), 100),
        ("Q4_K", scheme(4), 256),
        ("Q8_0", scheme(8, size=16), 256),
    ],
    ids=str,
)
def test_codes_that_a_type_does_not_hold(name: str, stored: Scheme, columns: int) -> None:
    assert not holds(TYPES[name], stored, columns)
