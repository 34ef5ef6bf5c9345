"""Measuring a folder that another process is still changing."""

from __future__ import annotations

import threading
from pathlib import Path

from lichen.checkpoint.disk import folder_bytes


def test_all_files_below_a_folder_count_and_links_do_not(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"x" * 100)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 23)
    (tmp_path / "link").symlink_to(tmp_path / "one")
    (tmp_path / "folder").symlink_to(tmp_path / "a")
    assert folder_bytes(tmp_path) == 123
    assert folder_bytes(tmp_path / "missing") == 0


def test_folders_that_vanish_under_it_do_no_harm(tmp_path: Path) -> None:
    """As pip's own temporary folders do while a download is watched."""
    (tmp_path / "kept").write_bytes(b"x" * 100)
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            inner = tmp_path / "pip-1" / "pip-2"
            inner.mkdir(parents=True)
            inner.rmdir()
            inner.parent.rmdir()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        sizes = {folder_bytes(tmp_path) for _ in range(5_000)}
    finally:
        done.set()
        other.join()
    assert sizes == {100}
