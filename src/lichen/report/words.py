"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lichen.measure.reading import Reading
from lichen.verify.record import Interval

#: Thin space between a number and its unit, a true minus sign, "times".
THIN, MINUS, TIMES = "\u2009", "\u2212", "\u00d7"

_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "J": ((1e3, "kJ"), (1, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "g": ((1e3, "kg"), (1, "g"), (1e-3, "mg"), (1e-6, "µg")),
}


def number(value: float) -> str:
    """Three significant digits, thousands apart, no exponent."""
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 4
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS)


def quantity(value: float, unit: str) -> str:
    """A value with the prefix of its unit that keeps it readable: 397800000 B -> 398 MB."""
    factor, name = _scale(value, unit)
    return f"{number(value / factor)}{THIN}{name}".rstrip()


def reading(found: Reading) -> str:
    """A reading's value."""
    return quantity(found.value, found.unit)


def reading_range(found: Reading) -> str | None:
    """A reading's range, where it has one that is not a point."""
    if found.low is None or found.high is None or found.low == found.high:
        return None
    if _scale(found.low, found.unit) == (scale := _scale(found.high, found.unit)):
        return f"{number(found.low / scale[0])} to {quantity(found.high, found.unit)}"
    return f"{quantity(found.low, found.unit)} to {quantity(found.high, found.unit)}"


def _scale(value: float, unit: str) -> tuple[float, str]:
    scales = _SCALES.get(unit, ((1, unit),))
    return next((s for s in scales if abs(value) >= s[0]), scales[-1])


def percent(fraction: float) -> str:
    """0.6154 -> 61.5%."""
    return f"{100 * fraction:.1f}%".replace("-", MINUS)


def percent_range(found: Interval) -> str:
    """The interval of a share."""
    return f"{percent(found.low)} to {percent(found.high)}"


def points(fraction: float) -> str:
    """A share in percentage points: 0.034 -> "3.4 points"."""
    text = f"{100 * fraction:.1f}".removesuffix(".0")
    return f"{text} {'point' if text == '1' else 'points'}"


def at_most(fraction: float) -> str:
    """A bound, rounded up: "at most 3 points" must not stand for 3.04."""
    return points(max(0, math.ceil(1000 * fraction - 1e-6)) / 1000)


def signed_points(fraction: float) -> str:
    """-0.007 -> "-0.7 points", with the sign always there but at zero."""
    shown = round(100 * fraction, 1)
    if shown == 0:
        return "no change"
    sign = MINUS if shown < 0 else "+"
    return f"{sign}{abs(shown):.1f} {'point' if abs(shown) == 1 else 'points'}"


def listed(items: Sequence[str]) -> str:
    """One; one and two; one, two and three."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def counted(count: int, noun: str) -> str:
    """1 task, 2 tasks, no tasks."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def ratio(before: float, after: float, less: str, more: str) -> tuple[str, str]:
    """How many times less or more, in the words given, and "good" if less, "bad" if more.

    Under 3 percent either way is "same": timing noise.
    """
    if before <= 0 or after <= 0:
        return "", "same"
    factor = after / before
    if 0.97 < factor < 1.03:
        return "about the same", "same"
    smaller = factor < 1
    times = 1 / factor if smaller else factor
    # A halved time is "2.0 times faster"; a small change reads better in percent.
    text = f"{times:.1f}{TIMES}" if times >= 1.5 else f"{100 * abs(factor - 1):.0f}%"
    return f"{text} {less if smaller else more}", "good" if smaller else "bad"
