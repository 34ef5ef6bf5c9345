"""What tasks can show: Connor's formula, by simulation and by its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stats.tables import pairs, rate

from lichen import stats


class TestPower:
    @pytest.mark.parametrize(("n", "points"), [(164, 4.9), (974, 2.0)])
    def test_smallest_drop_at_five_percent_disagreement(self, n: int, points: float) -> None:
        assert 100 * stats.smallest_detectable_drop(n, 0.05) == pytest.approx(points, abs=0.05)

    @given(st.integers(10, 5000), st.floats(0, 1))
    def test_is_a_share_and_shrinks_with_tasks(self, n: int, disagreement: float) -> None:
        drop = stats.smallest_detectable_drop(n, disagreement)
        assert 0 < drop <= 1
        assert stats.smallest_detectable_drop(2 * n, disagreement) <= drop

    def test_has_the_power_it_promises(self) -> None:
        n, disagreement = 974, 0.08
        drop = stats.smallest_detectable_drop(n, disagreement)
        rng = np.random.default_rng(1)
        flips = rng.binomial(n, disagreement, 1500)
        lost = rng.binomial(flips, (disagreement + drop) / (2 * disagreement))
        found = [stats.mcnemar_exact(int(a), int(f - a)) <= 0.05
                 for a, f in zip(lost, flips, strict=True)]  # fmt: skip
        assert np.mean(found) == pytest.approx(0.8, abs=0.06)  # the exact test gives some away

    def test_the_tasks_needed_would_decide(self) -> None:
        lost, gained, n = 4, 3, 143
        drop = (lost - gained) / n
        needed = stats.tasks_needed(drop, (lost + gained) / n - drop**2, n, 0.03)
        assert rate("accept", needed, lost / n, gained / n, 0.03) == pytest.approx(0.8, abs=0.08)

    @given(pairs, st.sampled_from([0.01, 0.03, 0.1]))
    def test_tasks_needed_are_more_than_there_were(
        self, table: tuple[int, int, int, int], margin: float
    ) -> None:
        _, lost, gained, _ = table
        n = sum(table)
        drop = (lost - gained) / n
        assert stats.tasks_needed(drop, (lost + gained) / n - drop**2, n, margin) > n

    def test_has_the_power_it_promises_with_several_samples(self) -> None:
        # Whole-task steps of a fifth: one of five samples is lost, or gained.
        n, square = 300, 0.3 / 25
        drop = stats.smallest_detectable_drop(n, square, step=0.2)
        rng = np.random.default_rng(1)
        shares = [0.15 + 2.5 * drop, 0.7, 0.15 - 2.5 * drop]
        found = []
        for down, same, up in rng.multinomial(n, shares, 400).tolist():
            before = [0.2] * down + [0.0] * (same + up)
            after = [0.0] * (down + same) + [0.2] * up
            found.append(stats.paired_permutation(before, after) <= 0.05)
        assert np.mean(found) == pytest.approx(0.8, abs=0.07)
