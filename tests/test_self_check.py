"""The batch-invariance check of `lichen doctor`: it holds, and it would notice if it did not."""

from __future__ import annotations

import pytest

from lichen import _core, self_check
from lichen.cli.doctor import _invariance
from lichen.engine import batch
from lichen.engine.scheduler import KV_TYPES


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_answers_do_not_depend_on_the_batch(isa: str) -> None:
    held = self_check.batch_invariance(isa)
    assert held == dict.fromkeys(self_check.TRIED, True)
    assert _invariance(held).startswith(f"holds ({len(held)} formats ")


def test_every_kernel_and_every_cache_is_tried() -> None:
    def kernels(form: str) -> set[str]:
        engine = self_check.tiny_engine(form, threads=1, isa=_core.supported_isas()[-1])
        return {product[0] for product in engine.plan.products}

    expected = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
    expected |= dict.fromkeys(("int8", "int8-groups", "int8-static"), "i8")
    expected |= {"int8-floats": "b8", "int6-floats": "b6", "int4-floats": "b4"}
    expected |= {"int4-trellis": "t4"}
    assert {f: kernels(f) for f in self_check.FORMATS} == {
        form: {expected.get(form, "i4")} for form in self_check.FORMATS
    }
    assert {kind for _, kind in self_check.TRIED.values()} == set(KV_TYPES)


def test_a_fault_in_crowds_is_noticed(monkeypatch) -> None:
    """All but the first of a step are placed one position too far."""
    right = batch.arrays

    def wrong(parts: list[batch.Part]) -> tuple[batch.Ints, ...]:
        ids, positions, *rest = right(parts)
        positions[parts[0].count :] += 1
        return ids, positions, *rest

    monkeypatch.setattr(batch, "arrays", wrong)
    held = self_check.batch_invariance(_core.supported_isas()[-1], (1,))
    assert not any(held.values())
    assert _invariance(held).startswith("BROKEN for float32, ")
