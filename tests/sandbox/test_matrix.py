"""What each layer is worth, seen by switching it off: the table of docs/sandbox.md."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from tests.sandbox.attacks import ATTACKS, MODEST
from tests.sandbox.conftest import LEVEL
from tests.sandbox.matrix import ROWS

pytestmark = pytest.mark.skipif(LEVEL != "full", reason=f"this machine allows only {LEVEL}")


@cache
def through(row: str) -> frozenset[str]:
    return frozenset(ROWS[row].through())


@pytest.mark.parametrize(
    ("row", "stopped_by_it_alone"),
    [
        ("judge", "always-equal liar-str frame-walk heap-walk payload-files entry-is-a-class"),
        ("namespaces", "who-else-is-there files-by-name"),
        (
            "seccomp",
            "keyring shared-memory raw-clone new-session memory-file semaphores priorities",
        ),
        ("limits", " ".join(MODEST)),
    ],
)
def test_a_layer_stops_what_no_other_does(row: str, stopped_by_it_alone: str) -> None:
    assert set(stopped_by_it_alone.split()) <= through(row)


def test_landlock_is_a_second_lock_on_the_same_doors() -> None:
    """Beside namespaces and the filter it stops nothing by itself; without them it does."""
    assert through("landlock") == set()
    assert {"reads-passwd", "writes-elsewhere", "system-files"} <= through("all")
    assert not {"reads-passwd", "writes-elsewhere", "system-files"} & through("only landlock")


@pytest.mark.parametrize("row", ["only namespaces", "only landlock", "only seccomp"])
def test_each_layer_alone_is_better_than_none(row: str) -> None:
    assert through(row) < through("all")


def test_the_rows_name_attacks() -> None:
    assert all(set(row.names) <= set(ATTACKS) for row in ROWS.values())


def test_the_documented_table_has_these_rows_and_attacks() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if line.count(" | ") == 3]
    rows = {cells[0].removeprefix("| "): cells for cells in lines if cells[1].isdigit()}
    assert list(rows) == [row.title for row in ROWS.values()]
    for row in ROWS.values():
        _, run, got_through, which = rows[row.title]
        names = set(which.removesuffix(" |").split(", ")) - {"-"}
        assert names <= set(row.names)
        assert (int(run), int(got_through)) == (len(row.names), len(names))
