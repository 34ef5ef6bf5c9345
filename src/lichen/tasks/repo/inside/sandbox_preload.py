"""Imported once by the process that the tests' processes are forked from: pytest, warm.

Loading its plugins takes a second; a run without tests does it.
"""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    import pytest

    _QUIET = ("-p", "no:cacheprovider", "-p", "no:logging", "-p", "no:faulthandler")
    pytest.main([*_QUIET, "--capture=sys", "--rootdir=/", "/nothing"])
