"""A budget of bits: the choice is the best there is, and never costs more than there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen.errors import InputError
from lichen.quantize.budget import Offer, spend

FORMATS = st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 10)), min_size=2, max_size=4).map(
    lambda pairs: Offer(tuple(b for b, _ in pairs), tuple(c for _, c in pairs))
)


def totals(offers: dict[str, Offer], chosen: dict[str, int]) -> tuple[int, float]:
    bits = sum(offers[name].bits[number] for name, number in chosen.items())
    return bits, sum(offers[name].costs[number] for name, number in chosen.items())


def best(offers: dict[str, Offer], budget: float) -> float:
    """The least cost, by trying everything."""
    ways = itertools.product(*(range(len(offer.bits)) for offer in offers.values()))
    found = (totals(offers, dict(zip(offers, way, strict=True))) for way in ways)
    return min(cost for bits, cost in found if bits <= budget)


@settings(max_examples=60, deadline=None)
@given(st.lists(FORMATS, min_size=1, max_size=5), st.floats(0, 1))
def test_nothing_within_the_budget_is_better(formats, share):
    offers = {f"layer {i}": offer for i, offer in enumerate(formats)}
    least = sum(min(offer.bits) for offer in formats)
    most = sum(max(offer.bits) for offer in formats)
    budget = least + share * (most - least)
    bits, cost = totals(offers, spend(offers, budget * 1.0002))
    assert bits <= budget * 1.0002
    assert cost <= best(offers, budget) + 1e-9, "but for a ten-thousandth, which rounding may take"


def test_bits_go_where_they_help_most():
    offers = {
        "robust": Offer((300, 400), (0.10, 0.08)),
        "sensitive": Offer((300, 400), (0.50, 0.10)),
    }
    assert spend(offers, 700) == {"robust": 0, "sensitive": 1}
    assert spend(offers, 800) == {"robust": 1, "sensitive": 1}
    assert spend(offers, 601) == {"robust": 0, "sensitive": 0}


def test_a_budget_below_the_smallest_formats_is_refused():
    with pytest.raises(InputError, match="less than the smallest formats take"):
        spend({"layer": Offer((300, 400), (1, 0))}, 299)
