"""Block dequantizers against the `gguf` package, bit for bit."""

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType

from lichen import _core
from lichen.checkpoint.gguf_blocks import BLOCK_TYPES, UNREAD_TYPES, BlockType

BLOCKED = [b for b in BLOCK_TYPES.values() if b.blocked]


def ids(block: BlockType) -> str:
    return block.name


@pytest.mark.parametrize("block", BLOCK_TYPES.values(), ids=ids)
def test_layout_is_ggmls(block: BlockType) -> None:
    kind = GgmlType(block.number)
    assert kind.name == block.name
    assert gguf.GGML_QUANT_SIZES[kind] == (block.weights, block.size_bytes)


def test_types_that_are_not_read_have_ggmls_names() -> None:
    theirs = {kind.value: kind.name for kind in GgmlType}
    assert not UNREAD_TYPES.keys() & BLOCK_TYPES.keys()
    assert all(theirs.get(number, name) == name for number, name in UNREAD_TYPES.items())
    assert max(BLOCK_TYPES.keys() | UNREAD_TYPES.keys()) >= 40


@pytest.mark.parametrize("block", BLOCKED, ids=ids)
def test_random_bytes_equal_the_oracle_bit_for_bit(block: BlockType) -> None:
    """Random bytes make every code and all kinds of float16 scales, NaN among them."""
    data = np.random.default_rng(block.number).integers(
        0, 256, 3000 * block.size_bytes, dtype=np.uint8
    )
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(data.reshape(3000, -1), GgmlType(block.number))
    actual = block.decode(data, (3000, block.weights))
    nan = np.isnan(expected)
    assert actual.dtype == np.float32
    assert (np.isnan(actual) == nan).all()
    assert (actual.view(np.uint32)[~nan] == expected.view(np.uint32)[~nan]).all()
    assert 0 < nan.mean() < 0.2


@pytest.mark.parametrize("block", BLOCKED, ids=ids)
@pytest.mark.parametrize("scale", [0.0, 6e-8, 6.1e-5, -1.0, 65504.0], ids=str)
def test_extreme_scales_equal_the_oracle(block: BlockType, scale: float) -> None:
    data = np.random.default_rng(1).integers(0, 256, (64, block.size_bytes), dtype=np.uint8)
    at = 208 if block.name == "Q6_K" else 0
    data[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    if block.name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K"):
        data[:, 2:4] = np.frombuffer(np.float16(-scale).tobytes(), np.uint8)
    expected = gguf.quants.dequantize(data, GgmlType(block.number))
    actual = block.decode(data.reshape(-1), (64, block.weights))
    assert np.isfinite(actual).all()
    assert (actual.view(np.uint32) == expected.view(np.uint32)).all()


@pytest.mark.parametrize("block", BLOCKED, ids=ids)
def test_packed_blocks_stand_for_the_same_floats(block: BlockType) -> None:
    """In one rounding, where ggml takes two: so to the last bit of the larger operand."""
    rows, columns = 33, 2 * block.weights
    data = np.random.default_rng(3).integers(0, 256, (rows, block.nbytes(columns)), dtype=np.uint8)
    at = 208 if block.name == "Q6_K" else 0
    blocks = data.reshape(-1, block.size_bytes)
    blocks[:, at + 1] = blocks[:, at + 1] % 60  # finite and not negative
    if block.name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K"):
        blocks[:, 3] = blocks[:, 3] % 60
    want = block.decode(data.reshape(-1), (rows, columns))
    linear = _core.Linear(_core.ThreadPool(1), data, block.kernel, None, None, "portable")
    found = np.array([linear.dequantize_row(row) for row in range(rows)])
    assert np.abs(want).max() > 1
    np.testing.assert_allclose(found, want, rtol=2**-22, atol=2**-22 * np.abs(want).max())


def test_a_row_has_whole_blocks() -> None:
    pool, row = _core.ThreadPool(1), np.zeros((2, 145), np.uint8)
    with pytest.raises(ValueError, match="uint8, with rows of blocks of 144 bytes"):
        _core.Linear(pool, row, "q4_k", None, None, "portable")
    with pytest.raises(ValueError, match="hold their own scales"):
        scales = np.ones((2, 8), np.float32)
        _core.Linear(pool, row[:, :144].copy(), "q4_k", scales, None, "portable")


@pytest.mark.parametrize(
    ("name", "dtype"), [("F32", np.float32), ("F16", np.float16), ("BF16", ml_dtypes.bfloat16)]
)
def test_plain_floats_stay_as_stored(name: str, dtype: type) -> None:
    block = next(b for b in BLOCK_TYPES.values() if b.name == name)
    values = np.linspace(-3, 3, 24).astype(dtype).reshape(4, 6)
    decoded = block.decode(values.view(np.uint8).reshape(-1), (4, 6))
    assert decoded.dtype == values.dtype
    assert (decoded == values).all()
