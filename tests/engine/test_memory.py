"""What memory is left, by the kernel and by control groups; models that do not fit are refused."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import write_tiny_model

from lichen import _core, loading, one_model
from lichen.checkpoint.gguf_blocks import BLOCK_TYPES
from lichen.cli.generate import command
from lichen.completion import Request
from lichen.disk_model import DiskModel
from lichen.engine import memory
from lichen.engine.scheduler import KV_TYPE
from lichen.errors import InputError, ResourceError
from lichen.invocation import Effort
from lichen.measure import bench, probe

KIB = 1024


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 9\nMemAvailable: 1000 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, 1000 * KIB),
        ({"proc/self/cgroup": "0::/\n"}, 1000 * KIB),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "5\n",
                "sys/fs/cgroup/a/memory.max": "700\n",
                "sys/fs/cgroup/a/memory.current": "600\n",
                "sys/fs/cgroup/a/memory.stat": "anon 500\ninactive_file 40\nactive_file 20\n",
            },
            160,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,memory:/a\n1:cpuset:/\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "900\n",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1000\n",
            },
            0,
        ),
    ],
    ids=["kernel", "no limit", "version 2", "version 1"],
)
def test_available_memory(tmp_path: Path, files: dict[str, str], left: int) -> None:
    assert memory.available_bytes(system(tmp_path, files)) == left


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert memory.available_bytes(tmp_path) is None


def test_a_model_that_memory_does_not_hold_is_refused(tmp_path, monkeypatch) -> None:
    folder = write_tiny_model(tmp_path)
    with pytest.raises(ResourceError, match=r"cache 1e\+06 GB, but only .* available"):
        loading.load(folder, cache_bytes=10**15)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(ResourceError, match=r"weights take .* but only 1e-06 GB") as refused:
        loading.load(folder, cache_bytes=1)
    assert refused.value.exit_code == 4


@pytest.mark.parametrize(
    "block", [b for b in BLOCK_TYPES.values() if b.blocked], ids=lambda b: b.name
)
def test_what_a_block_type_is_thought_to_take_holds_it(tmp_path, monkeypatch, block) -> None:
    rows, cols = 64, 512
    data = np.zeros((rows, block.nbytes(cols)), np.uint8)
    pool = _core.ThreadPool(1)
    taken = _core.Linear(pool, data, block.kernel, None, None, "portable").nbytes
    assert taken < 4 * rows * cols / 2
    stored = [(block.name, (rows, cols))]
    monkeypatch.setattr(memory, "available_bytes", lambda: taken - 1)
    with pytest.raises(ResourceError):
        memory.require(tmp_path, stored, "auto", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * taken)
    memory.require(tmp_path, stored, "auto", 0)
    with pytest.raises(ResourceError):
        memory.require(tmp_path, stored, "float32", 0)


def test_an_unknown_kind_of_cache_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="'int4' is unknown; choose one of float32, float16, int8"):
        loading.load(write_tiny_model(tmp_path), kv_cache="int4")


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_a_smaller_cache_holds_more_and_answers_alike_in_any_batch(tmp_path, kind) -> None:
    folder = write_tiny_model(tmp_path)
    full = loading.load(folder, threads=1, cache_bytes=100_000, kv_cache="float32")
    small = loading.load(folder, threads=2, cache_bytes=100_000, kv_cache=kind)
    assert small.engine._cache.pages >= 1.5 * full.engine._cache.pages
    assert small.engine._cache.nbytes <= 100_000
    ids = np.arange(3, 40, dtype=np.int32)
    exact, close = (np.concatenate(list(m.engine.logits(ids))) for m in (full, small))
    assert 0 < np.abs(exact - close).max() < 0.05 * np.abs(exact).max()
    requests = [Request(f"def f{i}(x):", max_tokens=6) for i in range(5)]
    together = dict(small.generate(requests))
    alone = [dict(small.generate([request]))[0] for request in requests]
    assert [together[i] for i in range(5)] == alone


def test_every_way_in_stores_keys_and_values_alike_unless_told_otherwise() -> None:
    ways = (
        loading.load,
        one_model.load,
        DiskModel,
        probe.measure_model,
        bench.measure_speeds,
        Effort,
    )
    defaults = {way: inspect.signature(way).parameters["kv_cache"].default for way in ways}
    assert defaults == dict.fromkeys(ways, KV_TYPE)
    [option] = [o for o in command.params if o.name == "kv_cache"]
    assert option.default == KV_TYPE
