"""What the presets of 4 bits read for a weight: the bits of its blocks as the kernels hold them.

What it stores is in tests/test_recipe.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lichen import _core
from lichen.engine.lowering import lower
from lichen.recipe import Rule, load_recipe
from lichen.solvers import mse
from lichen.tensor import QuantizedTensor

#: Rows and columns in a block of Qwen2.5-Coder-1.5B, by the kernel that they meet.
SHAPES = {
    "self_attn.q_proj": ("t4", 1536, 1536),
    "self_attn.k_proj": ("i8", 256, 1536),
    "self_attn.v_proj": ("i8", 256, 1536),
    "self_attn.o_proj": ("t4", 1536, 1536),
    "mlp.gate_proj": ("t4", 8960, 1536),
    "mlp.up_proj": ("t4", 8960, 1536),
    "mlp.down_proj": ("t4", 1536, 8960),
}
POOL = _core.ThreadPool(1)


def packed(rule: Rule, rows: int, columns: int, isa: str) -> _core.Linear:
    """Zeros in a rule's format, as the engine packs them."""
    codes = np.zeros((rows, columns), np.int8)
    if rule.scheme.trellis:
        made = mse.solve(codes.astype(np.float32), rule.scheme)
        kernel = lower(replace(made, activations=rule.activations))
        return _core.Linear(
            POOL, kernel.weight, kernel.dtype, None, None, isa, input_group=kernel.input_group
        )
    scales = np.ones(rule.scheme.scale_shape(rows, columns), np.float32)
    kernel = lower(QuantizedTensor(codes, scales, None, rule.scheme, rule.activations))
    return _core.Linear(
        *(POOL, kernel.weight, kernel.dtype, kernel.scales, None, isa, kernel.zeros),
        *(kernel.shifts, kernel.input_scale, kernel.input_group),
    )


@pytest.mark.parametrize("recipe", ["int4", "int4-groups"])
@pytest.mark.parametrize("isa", _core.supported_isas())
def test_blocks_are_read_in_at_most_four_and_a_half_bits(recipe: str, isa: str) -> None:
    """A sixteenth of the rows: as many bits a weight, for all are whole panels."""
    chosen, bits, weights = load_recipe(recipe), 0, 0
    for layer, (kernel, rows, columns) in SHAPES.items():
        rule = chosen.rule(f"model.layers.3.{layer}")
        assert isinstance(rule, Rule)
        linear = packed(rule, rows // 16, columns, isa)
        assert linear.dtype == (kernel if recipe == "int4" else kernel.replace("t4", "i4"))
        bits, weights = bits + 8 * linear.nbytes, weights + rows // 16 * columns
    assert 4.4 < bits / weights <= 4.5
