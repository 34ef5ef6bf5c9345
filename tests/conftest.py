"""Settings that all tests share."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# A shared machine can stall any example for longer than hypothesis' 200 ms; tests that are too slow
# are stopped by pytest-timeout instead.
settings.register_profile("lichen", deadline=None)
settings.load_profile("lichen")

# A shell that starts the tests in the background has them ignore Ctrl-C, which every process that
# they start inherits; the tests of Ctrl-C need the usual answer to it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: begun last, one of them would run when the other processes are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
