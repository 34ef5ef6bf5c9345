"""Large memory asks for huge pages: a weight is read from end to end for every token."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from lichen import _core

SWITCH = Path("/sys/kernel/mm/transparent_hugepage")
WEIGHT_BYTES = 32 << 20


def advised_bytes() -> int:
    """Of all mappings that are marked for huge pages ("hg", proc(5))."""
    mappings = re.split(
        r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M
    )
    advised = (m for m in mappings if re.search(r"^VmFlags:.* hg\b", m, re.M))
    return sum(int(re.search(r"^Size: +(\d+) kB", m, re.M)[1]) << 10 for m in advised)


@pytest.mark.skipif(not SWITCH.is_dir(), reason=f"no huge pages on this system: {SWITCH} is absent")
def test_a_large_weight_lies_in_huge_pages() -> None:
    """It is packed from a file, for NumPy asks for huge pages too and would be counted."""
    rows, columns = 4096, WEIGHT_BYTES // 4 // 4096
    with tempfile.TemporaryFile() as file:
        file.truncate(WEIGHT_BYTES)
        lazy = _core.FileRows(_core.File(file.fileno(), "zeros"), 0, rows, columns, "float32")
        before = advised_bytes()
        weight = _core.Linear(_core.ThreadPool(1), lazy, "f32", None, None, "portable")
    assert weight.nbytes == WEIGHT_BYTES
    assert WEIGHT_BYTES <= advised_bytes() - before < WEIGHT_BYTES + (1 << 20)
