"""bench/peers.py: rounds that are kept, peers that fail, the table; and bench/requantize.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from bench.peer import rounds
from bench.peer.rounds import Rounds, Row
from bench.peer.table import markdown
from bench.peer.weights import Weights
from bench.peers import Peers
from bench.requantize import requantize
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.tiny import write_tiny_model

from lichen.checkpoint import open_checkpoint

WORKER = """
import json, sys
job = json.loads(sys.argv[1])
if job.get("crash"):
    sys.stderr.write("loading\\nno such instruction\\n")
    sys.exit(3)
if job.get("fault"):
    import os, signal
    sys.stderr.write("loading\\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)
if job.get("hang"):
    import time
    time.sleep(60)
rate = job["rate"]
print("a library says hello")
print(json.dumps({"version": "fake 1", "load_s": 2.0, "prefill_256": rate, "prefill_1024": rate,
    "decode": rate, "batch_32": None, "peak_rss_bytes": 5_000_000,
    "reasons": {"batch_32": "no batches"}}))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "model.gguf").write_bytes(b"x" * 3_000_000)
    monkeypatch.setattr(rounds, "WORKERS", tmp_path)
    return tmp_path


def row(name: str, rival: str | None = None, **job: Any) -> Row:
    return Row(name, Path(sys.executable), "worker.py", "given", rival, job)


def peers_of(place: Path, *rows: Row, key: str = "k", timeout: float = 30) -> Peers:
    weights = Weights(place / "model.gguf", place / "out", Path(sys.executable))
    return Peers(list(rows), weights, Rounds(place / "rounds.jsonl", key), {"threads": 1}, timeout)


def test_medians_ratios_and_reasons(place: Path) -> None:
    found = peers_of(place, row("lichen", rate=300.0), row("other", "lichen", rate=100.0))
    found.run(2)
    ours, theirs = found.summary()
    assert ours["rounds"] == theirs["rounds"] == 2
    assert theirs["medians"]["decode"] == 100.0
    assert theirs["lichen_is_times_faster"] == {
        "prefill_256": 3.0, "prefill_1024": 3.0, "decode": 3.0, "load_s": 1.0,
    }  # fmt: skip
    text = markdown([ours, theirs], "A title.")
    assert "| other | 100 (3.0x) | 100 (3.0x) | 100 (3.0x) | - | 2.0 (1.0x) | 3 | 5 |" in text
    assert "| **lichen** | 300 |" in text
    assert "- other, batch_32: no batches" in text


def test_finished_rounds_are_kept(place: Path) -> None:
    peers_of(place, row("lichen", rate=300.0)).run(1)
    again = peers_of(place, row("lichen", rate=500.0))
    again.run(2)  # the first round is there already, with its own rate
    assert [found["decode"] for found in again.rounds.of(again.rows[0])] == [300.0, 500.0]
    with (place / "rounds.jsonl").open("a") as out:
        out.write('{"key": "k", "row": "li')  # cut off by a power cut
    assert len(peers_of(place).rounds.of(row("lichen"))) == 2
    assert peers_of(place, key="another engine").rounds.of(row("lichen")) == []


@pytest.mark.parametrize(
    ("failing", "told"),
    [
        (row("other", "lichen", crash=True), "ended with code 3: no such instruction"),
        (row("other", "lichen", fault=True), "ended with signal 11: loading"),
        (row("other", "lichen", hang=True), "took more than 2 s"),
        (
            Row("other", Path("/no/python"), "worker.py", "given", "lichen"),
            "there is no /no/python",
        ),
    ],
    ids=["crash", "fault", "hang", "missing"],
)
def test_a_peer_that_fails_is_a_line_of_the_table(place: Path, failing: Row, told: str) -> None:
    found = peers_of(place, row("lichen", rate=300.0), failing, timeout=2)
    found.run(2)
    summary = found.summary()
    assert [line["rounds"] for line in summary] == [2, 0]
    assert told in summary[1]["error"]
    assert f"| other | {told}" in markdown(summary, "")


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_requantizing_keeps_all_but_the_format(tmp_path: Path, kind: str) -> None:
    folder = write_tiny_model(tmp_path / "tiny", "llama", tied=False)
    source = write_tiny_gguf(tmp_path / "a.gguf", folder, pre="llama-bpe")
    requantize(source, tmp_path / "b.gguf", kind)
    before, after = open_checkpoint(source), open_checkpoint(tmp_path / "b.gguf")
    assert {k: v for k, v in after.config.items() if "dtype" not in k} == {
        k: v for k, v in before.config.items() if "dtype" not in k
    }
    assert sorted(after.names()) == sorted(before.names())
    bound = {"Q4_0": 1 / 8, "Q8_0": 1 / 200}[kind]
    for name in before.names():
        old, new = (np.asarray(c.read(name), np.float32) for c in (before, after))
        kept = old.ndim == 1 or name == "lm_head.weight"
        assert np.abs(new - old).max() <= (0 if kept else bound * np.abs(old).max()), name
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "b.gguf").tensors}
    assert types["output.weight"] == "F32"
    assert types["blk.0.ffn_up.weight"] == kind
    assert json.dumps(after.config)
