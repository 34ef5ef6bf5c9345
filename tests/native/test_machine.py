"""The machine's limits as the core takes them."""

from __future__ import annotations

from statistics import median

import pytest

from lichen import _core

POOL = _core.ThreadPool(2)
#: What no processor of this century falls short of, and what none exceeds with two threads.
PLAUSIBLE = (1e8, 1e14)


def test_reading_gives_a_rate_for_each_repetition() -> None:
    rates = _core.read_rates(POOL, 64 << 20, 3)
    assert len(rates) == 3
    assert all(1e8 < rate < 1e12 for rate in rates)


@pytest.mark.parametrize("dtype", ["i8", "bf16"])
@pytest.mark.parametrize("isa", _core.supported_isas())
def test_every_instruction_set_has_its_peaks(isa: str, dtype: str) -> None:
    rates = _core.peak_rates(POOL, isa, dtype, 3)
    assert len(rates) == 3
    assert all(PLAUSIBLE[0] < rate < PLAUSIBLE[1] for rate in rates)


@pytest.mark.skipif(len(_core.supported_isas()) < 2, reason="only the portable set")
def test_vectors_multiply_int8_faster_than_plain_code() -> None:
    one = _core.ThreadPool(1)
    plain, best = (
        max(_core.peak_rates(one, isa, "i8", 5)) for isa in ("portable", _core.supported_isas()[-1])
    )
    assert best > 1.5 * plain


def test_two_threads_do_not_count_the_work_of_one_twice() -> None:
    one, two = (median(_core.peak_rates(_core.ThreadPool(n), "portable", "i8", 5)) for n in (1, 2))
    assert two < 2.6 * one


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: _core.peak_rates(POOL, "portable", "f64", 1), "f64"),
        (lambda: _core.peak_rates(POOL, "pentium", "i8", 1), "pentium"),
        (lambda: _core.peak_rates(POOL, "portable", "i8", 0), "repetitions"),
        (lambda: _core.read_rates(POOL, 0, 1), "bytes"),
        (lambda: _core.read_rates(POOL, 1024, -1), "repetitions"),
    ],
    ids=["dtype", "isa", "repetitions", "bytes", "negative"],
)
def test_what_cannot_be_measured_is_refused(call, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=told):
        call()
