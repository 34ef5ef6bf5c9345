"""McNemar, Newcombe and Tango against published examples and statsmodels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from tests.stats.tables import outcomes, pairs

from lichen import stats


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

    def test_newcombe_1998(self) -> None:
        # Table II of Newcombe 1998, Stat. Med. 17:2635, method 10: 36, 12, 2, 0.
        found = stats.newcombe_paired(36, 2, 12, 0)
        assert (round(found.low, 4), round(found.high, 4)) == (0.0569, 0.3404)

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

    def test_tango_1998(self) -> None:
        # The paper's trial of soft contact lenses, 43 pairs alike and one not, has a score
        # statistic of Z = 1.709 for a difference of -0.1, so it is just inside at that confidence.
        def low(z: float) -> float:
            return stats.tango_paired(1, 0, 44, 2 * scipy_stats.norm.cdf(z) - 1).low

        assert low(1.7080) > -0.1 > low(1.7091)

    def test_propcis(self) -> None:
        # R's PropCIs 0.3-0: scoreci.mp(48, 41, 549, conf.level = 0.9).
        found = stats.tango_paired(41, 48, 549, 0.9)
        assert (round(found.low, 4), round(found.high, 4)) == (-0.0157, 0.0414)

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
