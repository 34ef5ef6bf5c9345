"""Statistics against published examples, against scipy and statsmodels, and by their properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from lichen import stats

counts = st.integers(0, 120)
pairs = st.tuples(counts, counts, counts, counts).filter(lambda t: sum(t) > 0)


class TestPassAtK:
    def test_is_the_share_when_k_is_one(self) -> None:
        assert stats.pass_at_k(10, 3, 1) == pytest.approx(0.3)

    @pytest.mark.parametrize(("n", "c", "k"), [(200, 10, 100), (7, 2, 3), (5, 0, 2), (5, 4, 2)])
    def test_equals_the_product_form_of_chen_et_al(self, n: int, c: int, k: int) -> None:
        # Chen et al. 2021, figure 3: the numerically stable estimator.
        product = 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)) if n - c >= k else 1.0
        assert stats.pass_at_k(n, c, k) == pytest.approx(product, abs=1e-12)

    @given(st.integers(1, 40), st.data())
    def test_grows_with_k_and_with_c(self, n: int, data: st.DataObject) -> None:
        c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
        value = stats.pass_at_k(n, c, k)
        assert 0 <= value <= 1
        if k < n:
            assert stats.pass_at_k(n, c, k + 1) >= value
        if c < n:
            assert stats.pass_at_k(n, c + 1, k) >= value

    @pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, 1, 6), (5, 1, 0), (5, -1, 1)])
    def test_refuses_impossible_counts(self, n: int, c: int, k: int) -> None:
        with pytest.raises(ValueError, match="pass@k"):
            stats.pass_at_k(n, c, k)


class TestWilson:
    @given(st.integers(1, 500), st.data(), st.floats(0.5, 0.999))
    def test_equals_statsmodels(self, n: int, data: st.DataObject, confidence: float) -> None:
        passed = data.draw(st.integers(0, n))
        found = stats.wilson(passed, n, confidence)
        low, high = proportion_confint(passed, n, alpha=1 - confidence, method="wilson")
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)

    def test_newcombe_1998_example(self) -> None:
        # Newcombe 1998, Stat. Med. 17:857, table I, method 3: 81 of 263.
        found = stats.wilson(81, 263)
        assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)

    @pytest.mark.parametrize(("passed", "end"), [(0, 0.0), (20, 1.0)])
    def test_ends_are_exact(self, passed: int, end: float) -> None:
        found = stats.wilson(passed, 20)
        assert end in (found.low, found.high)


class TestMcNemar:
    @given(st.integers(0, 400), st.integers(0, 400))
    def test_equals_statsmodels(self, lost: int, gained: int) -> None:
        oracle = mcnemar([[0, lost], [gained, 0]], exact=True).pvalue if lost + gained else 1.0
        assert stats.mcnemar_exact(lost, gained) == pytest.approx(min(1.0, oracle), rel=1e-9)

    def test_does_not_overflow(self) -> None:
        assert stats.mcnemar_exact(5000, 5000) == 1.0
        assert stats.mcnemar_exact(3000, 0) < 1e-300


class TestNewcombe:
    # Airway hyper-responsiveness before and after transplantation (Bentur et al. 2009), the
    # example of Fagerland, Lydersen and Laake 2014, Stat. Med. 33:2850: 1, 1, 7, 12 of 21.
    def test_bentur(self) -> None:
        found = stats.newcombe_paired(1, 7, 1, 12)
        assert found.estimate == pytest.approx(-6 / 21)
        assert (round(found.low, 3), round(found.high, 3)) == (-0.507, -0.026)

    @given(pairs, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
    def test_equals_the_formula_of_method_10(
        self, table: tuple[int, int, int, int], confidence: float
    ) -> None:
        e, f, g, h = (float(count) for count in table)
        n = e + f + g + h
        l1, u1 = proportion_confint(e + f, n, alpha=1 - confidence, method="wilson")
        l2, u2 = proportion_confint(e + g, n, alpha=1 - confidence, method="wilson")
        p1, p2 = (e + f) / n, (e + g) / n
        square = (e + f) * (g + h) * (e + g) * (f + h)
        c = e * h - f * g
        c = max(c - n / 2, 0.0) if c > 0 else c
        phi = c / math.sqrt(square) if square else 0.0
        down = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
        up = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
        # The paper's difference is first minus second, ours is second minus first.
        found = stats.newcombe_paired(*table, confidence)
        low = max(-1, -(p1 - p2 + math.sqrt(max(up, 0))))
        high = min(1, -(p1 - p2 - math.sqrt(max(down, 0))))
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-7)

    @given(pairs)
    def test_swapping_the_models_mirrors_it(self, table: tuple[int, int, int, int]) -> None:
        both, lost, gained, neither = table
        one = stats.newcombe_paired(both, lost, gained, neither)
        other = stats.newcombe_paired(both, gained, lost, neither)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


def constrained_score(lost: int, gained: int, n: int, difference: float) -> float:
    """Tango's statistic with its restricted maximum likelihood found numerically."""

    def loss(q: float) -> float:
        p = q + difference
        rest = 1 - p - q
        terms = ((gained, p), (lost, q), (n - lost - gained, rest))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in terms if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    q = optimize.minimize_scalar(
        loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    return (gained - lost - n * difference) / math.sqrt(n * (2 * q + difference - difference**2))


class TestTango:
    def test_bentur(self) -> None:
        # The same example and source as for Newcombe's interval.
        found = stats.tango_paired(7, 1, 21)
        assert (round(found.low, 3), round(found.high, 3)) == (-0.517, -0.026)

    @pytest.mark.parametrize(
        ("lost", "gained", "n"), [(20, 40, 160), (3, 2, 143), (1, 0, 50), (7, 1, 21), (9, 9, 40)]
    )
    def test_ends_solve_the_score_equation(self, lost: int, gained: int, n: int) -> None:
        z = scipy_stats.norm.ppf(0.975)
        found = stats.tango_paired(lost, gained, n)
        assert constrained_score(lost, gained, n, found.low) == pytest.approx(z, abs=1e-4)
        assert constrained_score(lost, gained, n, found.high) == pytest.approx(-z, abs=1e-4)

    @given(st.integers(1, 3000))
    def test_without_flips_is_z_squared_over_n_plus_z_squared(self, n: int) -> None:
        z2 = scipy_stats.norm.ppf(0.95) ** 2
        found = stats.tango_paired(0, 0, n, 0.9)
        assert found.high == pytest.approx(z2 / (n + z2), abs=1e-6)
        assert found.low == pytest.approx(-found.high, abs=1e-6)

    @given(pairs)
    def test_holds_the_estimate_and_mirrors(self, table: tuple[int, int, int, int]) -> None:
        both, lost, gained, neither = table
        n = both + lost + gained + neither
        found, mirror = stats.tango_paired(lost, gained, n), stats.tango_paired(gained, lost, n)
        assert -1 <= found.low <= found.estimate + 1e-12
        assert found.estimate <= found.high + 1e-12 <= 1 + 1e-9
        assert (found.low, found.high) == pytest.approx((-mirror.high, -mirror.low), abs=1e-9)

    @given(st.integers(0, 20), st.integers(0, 20), st.integers(41, 400))
    def test_more_confidence_is_wider(self, lost: int, gained: int, n: int) -> None:
        narrow, wide = (stats.tango_paired(lost, gained, n, c) for c in (0.8, 0.95))
        assert wide.low < narrow.low
        assert narrow.high < wide.high

    @pytest.mark.parametrize("shares", [(0.02, 0.02), (0.03, 0.01), (0.05, 0.03), (0.01, 0.01)])
    def test_coverage_is_near_nominal_on_120_tasks(self, shares: tuple[float, float]) -> None:
        truth = shares[1] - shares[0]
        covered = sum(
            p for lost, gained, p in outcomes(120, *shares)
            if (found := stats.tango_paired(lost, gained, 120, 0.9)).low <= truth <= found.high
        )  # fmt: skip
        assert 0.88 <= covered <= 0.98

    def test_keeps_its_promise_at_the_margin_where_newcombes_breaks_it(self) -> None:
        n, drop = 120, 0.03
        tango = newcombe = 0.0
        for lost, _, p in outcomes(n, drop, 0.0):
            solved = (n - lost) // 2
            tango += p * (stats.tango_paired(lost, 0, n, 0.9).low > -drop)
            rest = n - lost - solved
            newcombe += p * (stats.newcombe_paired(solved, lost, 0, rest, 0.9).low > -drop)
        assert tango <= 0.05
        assert newcombe > 0.1


class TestNonInferiority:
    @given(st.integers(120, 2000), st.floats(0, 1))
    def test_no_flip_accepts_from_120_tasks_on(self, n: int, share: float) -> None:
        both = round(n * share)
        found = stats.non_inferiority(both, 0, 0, n - both)
        assert found.decision == "accept"
        assert found.mcnemar_p == 1
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
        assert found.tasks_needed == 88
        assert "88 tasks" in found.reason

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
            assert found.mcnemar_p <= 0.05
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


def rate(decision: str, n: int, p_lost: float, p_gained: float, margin: float) -> float:
    """Exact chance of a decision at these true shares of lost and gained tasks."""
    return sum(
        p for a, b, p in outcomes(n, p_lost, p_gained)
        if stats.non_inferiority(60, a, b, n - 60 - a - b, margin=margin).decision == decision
    )  # fmt: skip


def outcomes(n: int, p_lost: float, p_gained: float) -> list[tuple[int, int, float]]:
    """Lost, gained and the chance of it, for all that is at all likely."""
    lost, gained = np.meshgrid(np.arange(41), np.arange(41), indexing="ij")
    shares = [p_lost, p_gained, 1 - p_lost - p_gained]
    counts = np.stack([lost, gained, n - lost - gained], -1)
    chance = scipy_stats.multinomial.pmf(counts, n, shares)
    return [(int(a), int(b), float(chance[a, b])) for a, b in np.argwhere(chance > 1e-9)]


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
        needed = stats.tasks_needed(lost, gained, n, 0.03)
        assert rate("accept", needed, lost / n, gained / n, 0.03) == pytest.approx(0.8, abs=0.08)

    @given(pairs, st.sampled_from([0.01, 0.03, 0.1]))
    def test_tasks_needed_are_more_than_there_were(
        self, table: tuple[int, int, int, int], margin: float
    ) -> None:
        _, lost, gained, _ = table
        assert stats.tasks_needed(lost, gained, sum(table), margin) > sum(table)


class TestBootstrap:
    def test_equals_scipys_percentile_interval(self) -> None:
        rng = np.random.default_rng(3)
        before, after = rng.random(80), rng.random(80)
        found = stats.paired_bootstrap(before.tolist(), after.tolist())
        oracle = scipy_stats.bootstrap(
            (after - before,), np.mean, method="percentile", n_resamples=20_000, rng=rng
        ).confidence_interval
        assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.006)

    def test_is_seeded(self) -> None:
        scores = [0.0, 0.5, 1.0, 0.25], [0.5, 0.5, 0.0, 1.0]
        assert stats.paired_bootstrap(*scores) == stats.paired_bootstrap(*scores)
        assert stats.paired_bootstrap(*scores).estimate == pytest.approx(0.0625)

    def test_refuses_unpaired_scores(self) -> None:
        with pytest.raises(ValueError, match=r"."):
            stats.paired_bootstrap([1.0, 0.0], [1.0, 0.0, 1.0])
        with pytest.raises(ValueError, match="non-empty"):
            stats.paired_bootstrap([], [])


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.034, "3.4 points"), (0.03, "3 points"), (0.01, "1 point"), (0, "0 points")],
)
def test_points(fraction: float, text: str) -> None:
    assert stats.points(fraction) == text
