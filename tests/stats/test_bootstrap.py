"""The bootstrap over tasks against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lichen import stats


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
        with pytest.raises(ValueError, match="equally long"):
            stats.paired_bootstrap([1.0, 0.0], [1.0, 0.0, 1.0])
        with pytest.raises(ValueError, match="non-empty"):
            stats.paired_bootstrap([], [])
