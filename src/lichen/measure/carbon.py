"""Carbon intensity of electricity by country and year, from a shipped table with its source."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lichen.errors import InputError


@dataclass(frozen=True)
class Grid:
    """Grams of CO2-equivalent for each kWh, where and when, and who says so.

    ``warning`` is set when the place is not known and a world average stands in for it.
    """

    grams_per_kwh: float
    place: str
    year: int | None
    source: str
    warning: str | None = None


def grid(place: str | float | None = None, year: int | None = None) -> Grid:
    """The grid of a country (ISO code or English name), or a figure in g/kWh given by the user.

    Without a year the newest in the table; without a place, or with one that is not listed, the
    world average with a warning.  InputError for a figure that is no intensity and for a year
    that the table lacks.
    """
    figure = _figure(place)
    if figure is not None:
        return _given(figure)
    entry = _country(place) if isinstance(place, str) else None
    if entry is None:
        return _unknown(place if isinstance(place, str) else None)
    years = sorted(int(key) for key in entry if key != "name")
    if year is not None and year not in years:
        known = ", ".join(map(str, years))
        raise InputError(
            f"no carbon intensity of {entry['name']} for {year}; the table has {known}. "
            "Give the figure itself, in g/kWh."
        )
    chosen = year if year is not None else years[-1]
    return Grid(float(entry[str(chosen)]), entry["name"], chosen, _table()["source"])


def places() -> dict[str, str]:
    """ISO codes in the table with their countries' names."""
    return {code: entry["name"] for code, entry in _table()["countries"].items()}


def _figure(place: str | float | None) -> float | None:
    try:
        return None if place is None else float(place)
    except ValueError:
        return None


def _given(grams: float) -> Grid:
    if not (math.isfinite(grams) and 0 <= grams <= 3000):
        raise InputError(f"a carbon intensity is between 0 and 3000 g/kWh, not {grams:g}.")
    return Grid(grams, "the place given", None, "given by the user")


def _unknown(place: str | None) -> Grid:
    default = _table()["default"]
    grams = float(default["grams_per_kwh"])
    why = "The place of this machine is not known" if place is None else f"{place!r} is not listed"
    return Grid(
        grams,
        "unknown place",
        default["year"],
        default["source"],
        f"{why}: CO2 is counted with the world average of {grams:g} g/kWh. "
        "National grids lie between about 30 and 710, so give yours.",
    )


def _country(place: str) -> dict[str, Any] | None:
    wanted = place.strip().casefold()
    for code, entry in _table()["countries"].items():
        if wanted in (code.casefold(), entry["name"].casefold()):
            found: dict[str, Any] = entry
            return found
    return None


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("carbon.toml").read_text(encoding="utf-8"))
