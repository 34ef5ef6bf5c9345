"""One figure with everything a reader needs in order to believe it."""

from __future__ import annotations

from typing import Literal

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its unit, where it came from, and whether it was measured or modelled."""

    value: float
    unit: str
    kind: Literal["measured", "modelled"]
    source: str
    low: float | None = None
    high: float | None = None
