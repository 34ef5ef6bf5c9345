"""Statistics of inputs: what NumPy says of all of them at once, however they were cut in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.solvers.samples import Array, drawn

from lichen import _core
from lichen.solvers import native
from lichen.solvers.statistics import NEEDS, SAMPLE_TOKENS, Collector, Histogram, InputStatistics


def collected(x: Array, *cuts: int, needs: frozenset[str] = NEEDS) -> InputStatistics:
    collector = Collector(x.shape[1], len(x), needs)
    for piece in np.split(x, cuts):
        collector.add(piece)
    return collector.result()


def test_columns_are_described_as_numpy_does():
    x = drawn(1000, 70)
    seen, wide = collected(x, 1, 17, 600), x.astype(np.float64)
    assert seen.tokens == 1000
    np.testing.assert_array_equal(seen.absmax, np.abs(x).max(axis=0))
    np.testing.assert_allclose(seen.mean_absolute, np.abs(wide).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(seen.mean_square, np.square(wide).mean(axis=0), rtol=1e-5)


@given(st.data())
def test_what_does_not_add_up_is_independent_of_pieces(data):
    """Extremes, sample and histogram; sums end in other digits."""
    x = drawn(90, 3) * np.float32(2.0 ** data.draw(st.integers(-40, 40)))
    x[: data.draw(st.integers(0, 30))] = 0
    cuts = sorted(data.draw(st.sets(st.integers(1, 89), max_size=5)))
    whole, cut = collected(x), collected(x, *cuts)
    np.testing.assert_array_equal(cut.absmax, whole.absmax)
    np.testing.assert_array_equal(cut.sample, whole.sample)
    np.testing.assert_array_equal(cut.histogram.counts, whole.histogram.counts)
    assert cut.histogram.width == whole.histogram.width
    assert cut.histogram.largest == whole.histogram.largest
    np.testing.assert_allclose(cut.mean_square, whole.mean_square, rtol=1e-6)


# --- histogram -------------------------------------------------------------------------------


def histogram(*pieces: list[float]) -> Histogram:
    collector = Collector(1, sum(map(len, pieces)), {"histogram"})
    for piece in pieces:
        collector.add(np.array(piece, np.float32)[:, None])
    found = collector.result().histogram
    assert found is not None
    return found


def test_the_histogram_is_that_of_numpy():
    x = drawn(2000, 5)
    found = collected(x, 100, 900).histogram
    edges = np.arange(len(found.counts) + 1) * found.width
    expected, _ = np.histogram(np.abs(x), edges)
    np.testing.assert_array_equal(found.counts, expected)
    assert found.largest == np.abs(x).max()


def test_both_signs_share_a_bin():
    found = histogram([3.0, -3.0, 1.0])
    assert found.counts[int(3 / found.width)] == 2
    assert found.counts.sum() == 3


@pytest.mark.parametrize("larger", [1.0, 1.5, 2.0, 1000.0])
def test_bins_widen_until_they_reach_the_largest(larger):
    found = histogram([1.0, 0.25], [larger])
    assert len(found.counts) * found.width / 2 <= larger < len(found.counts) * found.width
    assert found.counts[int(0.25 / found.width)] == 1
    assert found.counts.sum() == 3


def test_zeros_fall_into_the_first_bin():
    assert histogram([0.0], [0.0]).counts[0] == 2
    assert histogram([0.0], [1.0, 0.0]).counts[0] == 2


# --- sample ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 10, SAMPLE_TOKENS, 600, 5000])
def test_a_sample_holds_tokens_in_order_none_twice(tokens):
    x = np.arange(tokens, dtype=np.float32)[:, None]
    sample = collected(x, *range(7, tokens, 700)).sample[:, 0]
    assert len(sample) == min(tokens, SAMPLE_TOKENS)
    assert (np.diff(sample) > 0).all()
    assert sample[-1] < tokens


@pytest.mark.parametrize("tokens", [600, 5000, 64 * 512])
def test_a_sample_is_evenly_spread(tokens):
    x = np.arange(tokens, dtype=np.float32)[:, None]
    sample = collected(x, needs=frozenset({"sample"})).sample[:, 0]
    step = tokens / SAMPLE_TOKENS
    middles = (np.arange(SAMPLE_TOKENS) + 0.5) * step
    assert np.abs(sample - middles).max() < step / 2 + 1


@pytest.mark.parametrize("length", [64, 512, 2048])
def test_a_sample_prefers_no_place_in_the_sequences(length):
    """First tokens of texts have inputs unlike all others (arXiv 2402.17762)."""
    places = np.arange(64 * 512, dtype=np.float32)[:, None] % length
    sample = collected(places, needs=frozenset({"sample"})).sample[:, 0]
    assert (sample == 0).sum() <= 2 * SAMPLE_TOKENS / length + 1
    shares = np.histogram(sample, 8, (0, length))[0] / SAMPLE_TOKENS
    np.testing.assert_allclose(shares, 1 / 8, atol=0.04)


# --- what it refuses -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_inputs_that_are_not_finite_are_refused(value):
    x = drawn(20, 5)
    x[13, 2] = value
    with pytest.raises(ValueError, match="inputs are not finite"):
        collected(x)


def test_other_tokens_than_were_announced_are_refused():
    collector = Collector(3, 10, frozenset())
    collector.add(drawn(9, 3))
    with pytest.raises(ValueError, match="9 tokens were seen, not 10"):
        collector.result()


def test_unknown_statistics_are_refused():
    with pytest.raises(ValueError, match=r"there are no statistics \['median'\]"):
        Collector(3, 10, {"median"})


def test_what_was_not_asked_for_is_not_there():
    seen = collected(drawn(9, 3), needs=frozenset())
    assert seen.second_moment is seen.sample is seen.histogram is None


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    x, found = drawn(700, 300), []
    for threads in (1, 2):
        monkeypatch.setattr(native, "pool", lambda elements, n=threads: _core.ThreadPool(n))
        found.append(collected(x, 512))
    one, two = found
    for name in ("absmax", "mean_absolute", "mean_square", "second_moment", "sample"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.histogram.counts, two.histogram.counts)
