"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# A shared machine can stall any example for longer than hypothesis' 200 ms; tests that are too slow
# are stopped by pytest-timeout instead.
settings.register_profile("lichen", deadline=None)
settings.load_profile("lichen")
