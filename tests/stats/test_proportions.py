"""pass@k and Wilson's interval against their papers and statsmodels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from lichen import stats


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

    def test_equals_the_share_of_all_choices_of_k_samples(self) -> None:
        verdicts = [True, True, False, False, False, False, True]
        choices = list(itertools.combinations(verdicts, 3))
        assert stats.pass_at_k(7, 3, 3) == pytest.approx(np.mean([any(c) for c in choices]))

    def test_is_exact_for_many_samples(self) -> None:
        # Binomial coefficients of this size overflow a float.
        assert stats.pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5, abs=1e-9)


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


class TestMeanPassAtK:
    @given(st.integers(1, 300), st.data())
    def test_one_sample_of_each_task_is_wilsons(self, n: int, data: st.DataObject) -> None:
        passed = data.draw(st.integers(0, n))
        found = stats.mean_pass_at_k([1] * n, [1] * passed + [0] * (n - passed), 1)
        wilson = stats.wilson(passed, n)
        assert (found.estimate, found.low, found.high) == pytest.approx(
            (wilson.estimate, wilson.low, wilson.high), abs=1e-9
        )

    def test_tasks_may_have_different_numbers_of_samples(self) -> None:
        found = stats.mean_pass_at_k([10, 5, 4], [0, 2, 4], 2)
        assert found.estimate == pytest.approx((0 + 0.7 + 1) / 3)
        assert 0 <= found.low < found.estimate < found.high <= 1

    def test_more_samples_of_few_tasks_do_not_make_it_narrow(self) -> None:
        few = stats.mean_pass_at_k([10] * 8, [10, 0] * 4, 1)
        many = stats.mean_pass_at_k([1000] * 8, [1000, 0] * 4, 1)
        assert (few.low, few.high) == pytest.approx((many.low, many.high))

    def test_refuses_lists_that_do_not_match(self) -> None:
        with pytest.raises(ValueError, match=r"shorter|longer"):
            stats.mean_pass_at_k([5, 5], [1], 1)
        with pytest.raises(ValueError, match="at least one"):
            stats.mean_pass_at_k([], [], 1)
