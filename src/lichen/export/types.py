"""Which GGUF type each tensor gets."""

from __future__ import annotations

from lichen.checkpoint.gguf_blocks import BlockType
from lichen.checkpoint.gguf_encode import SYMMETRIC, TYPES, holds
from lichen.schemes import Scheme

AUTO = "auto"

#: What may be asked for, most bits first; the last two are mixtures of llama.cpp's.
ASKED = (
    *(AUTO, "F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0"),
    *("Q5_K_M", "Q4_K_M"),
)

#: For rows that blocks of 256 do not divide: what llama.cpp takes instead.
_OF_32 = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}

#: ``general.file_type`` (``enum llama_ftype``) by what was asked for.
FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K": 14,
    "Q4_K_M": 15, "Q5_K": 16, "Q5_K_M": 17, "Q6_K": 18, "BF16": 32,
}  # fmt: skip

#: Float types of safetensors; anything else that is no block type is written as float32.
_FLOATS = {"F32", "F16", "BF16"}


def asked_type(asked: str, name: str, layers: int, *, is_head: bool) -> BlockType:
    """The type of a matrix when `asked` is not "auto", before its width is looked at.

    A head, or an embedding that is one too, gets at least Q6_K, as llama.cpp has it.
    """
    base = asked.removesuffix("_M")
    more = asked.endswith("_M") and _with_more_bits(name, layers)
    narrow = TYPES[base].weights > 1 and base != "Q8_0"
    return TYPES["Q6_K" if more or (is_head and narrow) else base]


def faithful_type(dtype: str, columns: int, scheme: Scheme | None) -> BlockType:
    """The type that holds a tensor as it is, or nearest to it."""
    if scheme is None:
        return TYPES[dtype if dtype in TYPES else "F32"]
    holding = (TYPES[name] for name in SYMMETRIC)
    return next((kind for kind in holding if holds(kind, scheme, columns)), TYPES["F16"])


def fitting(kind: BlockType, columns: int) -> BlockType:
    """`kind`, or the next one whose blocks divide rows of so many columns."""
    if columns % kind.weights and kind.name in _OF_32:
        kind = TYPES[_OF_32[kind.name]]
    return TYPES["F16"] if columns % kind.weights else kind


def _with_more_bits(name: str, layers: int) -> bool:
    """The mixtures' better half of value and down projections: the first and the last eighth of
    the layers, and every third between them."""
    if not name.endswith(("v_proj.weight", "down_proj.weight")):
        return False
    layer = int(name.split(".")[2])
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
