"""The decision: what it follows from, what it promises, and the words for it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from tests.stats.tables import outcomes, pairs, rate

from lichen import stats
from lichen.stats.decision import accepts
from lichen.stats.power import chance_of_so_few


class TestNonInferiority:
    @given(st.integers(120, 2000), st.floats(0, 1))
    def test_no_flip_accepts_from_120_tasks_on(self, n: int, share: float) -> None:
        both = round(n * share)
        found = stats.non_inferiority(both, 0, 0, n - both)
        assert found.decision == "accept"
        assert found.p_value == 1
        assert found.tasks_needed is None
        assert found.sensitive == (both / n > 0.03)

    def test_five_tasks_never_decide(self) -> None:
        for table in itertools.product(range(6), repeat=4):
            if sum(table) == 5:
                found = stats.non_inferiority(*table)
                assert found.decision == "undecided", table
                assert found.tasks_needed is not None
                assert found.tasks_needed > 5

    def test_the_number_of_tasks_asked_for_is_whole_and_named_in_the_reason(self) -> None:
        found = stats.non_inferiority(2, 0, 0, 3)
        assert found.tasks_needed == 99
        assert "about 99 tasks would decide" in found.reason

    @given(pairs, st.sampled_from([0.01, 0.03, 0.1]))
    def test_the_decision_follows_from_the_figures(
        self, table: tuple[int, int, int, int], margin: float
    ) -> None:
        found = stats.non_inferiority(*table, margin=margin)
        if found.decision == "accept":
            assert found.interval.low > -margin
        elif found.decision == "reject":
            assert found.interval.high < 0
            assert found.interval.low <= -margin
            assert found.p_value <= 0.05
        assert (found.tasks_needed is not None) == (found.decision == "undecided")

    @given(pairs)
    def test_one_more_loss_never_helps(self, table: tuple[int, int, int, int]) -> None:
        both, lost, gained, neither = table
        order = {"reject": 0, "undecided": 1, "accept": 2}
        if both:
            before = stats.non_inferiority(both, lost, gained, neither)
            after = stats.non_inferiority(both - 1, lost + 1, gained, neither)
            assert order[after.decision] <= order[before.decision]

    def test_a_small_certain_loss_within_the_margin_is_accepted_and_said(self) -> None:
        found = stats.non_inferiority(500, 12, 0, 462)
        assert found.decision == "accept"
        assert "A loss is there" in found.reason

    def test_a_clear_loss_is_rejected(self) -> None:
        assert stats.non_inferiority(60, 12, 2, 66).decision == "reject"

    @pytest.mark.parametrize("disagreement", [0.02, 0.05, 0.1])
    def test_error_rates(self, disagreement: float) -> None:
        # Exact rates on 143 tasks; a true drop of twice the margin needs that many flips.
        n, margin = 143, 0.03
        assert rate("reject", n, disagreement / 2, disagreement / 2, margin) <= 0.05
        gained = max(0.0, (disagreement - 2 * margin) / 2)
        assert rate("accept", n, gained + 2 * margin, gained, margin) <= 0.05

    @pytest.mark.parametrize(("margin", "alpha"), [(0, 0.05), (1, 0.05), (0.03, 0.5), (0.03, 0)])
    def test_refuses_impossible_settings(self, margin: float, alpha: float) -> None:
        with pytest.raises(ValueError, match="margin"):
            stats.non_inferiority(1, 1, 1, 1, margin=margin, alpha=alpha)

    @pytest.mark.parametrize("n", [88, 98, 147, 199])
    def test_a_drop_of_the_margin_is_not_accepted_too_often_where_tango_alone_does(
        self, n: int
    ) -> None:
        drop = 0.03
        tango = decided = 0.0
        for lost, _, p in outcomes(n, drop, 0.0):
            low = stats.tango_paired(lost, 0, n, 0.9).low
            tango += p * (low > -drop)
            decided += p * accepts(n, lost / n, low, drop, 0.05)
        assert tango > 0.05
        assert decided <= 0.05

    @given(st.integers(1, 400), st.data(), st.floats(0.001, 0.5))
    def test_the_chance_of_few_losses_is_scipys(
        self, n: int, data: st.DataObject, share: float
    ) -> None:
        losses = data.draw(st.integers(0, n))
        oracle = scipy_stats.binom.cdf(losses, n, share)
        assert chance_of_so_few(losses, n, share) == pytest.approx(oracle, rel=1e-6, abs=1e-12)


fractions = st.integers(1, 10).flatmap(
    lambda k: st.lists(
        st.tuples(st.integers(0, k), st.integers(0, k)), min_size=1, max_size=60
    ).map(lambda rows: ([r / k for r, _ in rows], [c / k for _, c in rows]))
)


class TestPairedMeans:
    @given(pairs, st.sampled_from([0.01, 0.03, 0.1]))
    def test_with_one_sample_of_each_task_it_is_the_decision_on_pairs(
        self, table: tuple[int, int, int, int], margin: float
    ) -> None:
        sides = np.repeat([(1, 1), (1, 0), (0, 1), (0, 0)], table, axis=0).T.tolist()
        one = stats.non_inferiority(*table, margin=margin)
        several = stats.paired_means(*sides, margin=margin)
        assert several.decision == one.decision
        assert several.p_value == pytest.approx(one.p_value, rel=1e-9)
        assert (several.interval.low, several.interval.high) == pytest.approx(
            (one.interval.low, one.interval.high), abs=1e-12
        )
        for field in ("n", "lost", "gained", "tasks_needed", "sensitive"):
            assert getattr(several, field) == getattr(one, field)

    @given(fractions)
    def test_swapping_the_models_mirrors_it(self, sides: tuple[list[float], list[float]]) -> None:
        reference, candidate = sides
        one = stats.paired_means(reference, candidate, margin=0.03)
        other = stats.paired_means(candidate, reference, margin=0.03)
        assert (one.interval.low, one.interval.high) == pytest.approx(
            (-other.interval.high, -other.interval.low), abs=1e-9
        )
        assert one.p_value == pytest.approx(other.p_value, rel=1e-12)
        assert (one.lost, one.gained) == (other.gained, other.lost)
        assert -1 <= one.interval.low <= one.interval.estimate <= one.interval.high <= 1

    def test_two_runs_of_one_model_accept(self) -> None:
        shares = [0.0, 0.1, 0.5, 1.0] * 30
        found = stats.paired_means(shares, shares)
        assert (found.decision, found.p_value, found.lost, found.gained) == ("accept", 1.0, 0, 0)
        assert "the same share of passes on all 120 tasks" in found.reason

    def test_few_tasks_never_accept_however_many_samples(self) -> None:
        found = stats.paired_means([0.5] * 20, [0.5] * 20)
        assert found.decision == "undecided"
        assert found.tasks_needed == 99

    def test_a_loss_everywhere_is_rejected(self) -> None:
        found = stats.paired_means([0.9] * 150, [0.7] * 150)
        assert found.decision == "reject"
        assert "passes 150 less often and 0 more often: a drop of 20 points" in found.reason

    def test_several_samples_show_smaller_drops_than_one(self) -> None:
        rng = np.random.default_rng(2)
        rates = rng.beta(0.5, 0.5, 164)
        drops = []
        for k in (1, 10):
            sides = [(rng.binomial(k, rates) / k).tolist() for _ in range(2)]
            drops.append(stats.paired_means(*sides).smallest_drop)
        assert drops[1] < drops[0] / 1.5

    def test_refuses_what_is_not_a_pair_of_scores(self) -> None:
        with pytest.raises(ValueError, match="equally long"):
            stats.paired_means([1.0], [1.0, 0.0])
        with pytest.raises(ValueError, match="non-empty"):
            stats.paired_means([], [])
        for wrong in (1.5, -0.1, float("nan")):
            with pytest.raises(ValueError, match="from 0 to 1"):
                stats.paired_means([wrong], [0.5])
        with pytest.raises(ValueError, match="margin"):
            stats.paired_means([1.0], [1.0], margin=0)


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.034, "3.4 points"), (0.03, "3 points"), (0.01, "1 point"), (0, "0 points")],
)
def test_points(fraction: float, text: str) -> None:
    assert stats.points(fraction) == text
