"""The batch-invariance check of `lichen doctor`: it holds, and it would notice if it did not."""

from __future__ import annotations

import pytest

from lichen import _core, self_check
from lichen.cli.doctor import _invariance
from lichen.engine import batch


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_answers_do_not_depend_on_the_batch(isa: str) -> None:
    held = self_check.batch_invariance(isa)
    assert held == dict.fromkeys(self_check.FORMATS, True)
    assert _invariance(held).startswith("holds (float32, ")


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
