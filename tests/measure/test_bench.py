"""`lichen bench`: limits, rates, shares of one another, and what cannot be measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.quantized import INT4
from tests.tiny import write_tiny_model

from lichen import _core
from lichen.cli.main import run
from lichen.engine.machine import choose_isa
from lichen.engine.scheduler import CACHE_BYTES
from lichen.errors import InputError
from lichen.loading import load
from lichen.measure import child, limits, measure_limits, measure_speeds
from lichen.measure.bench import BATCH_PROMPT, Rate, Speeds, Workload
from lichen.measure.reading import Reading
from lichen.measure.shares import Shares, document, rows
from lichen.measure.speed import Bench, multiply_adds
from lichen.quantize import quantize
from lichen.recipe import Recipe, load_recipe

#: The fields of the contract, with what each must be.
CONTRACT = {
    "model": str,
    "scheme": str,
    "isa": str,
    "threads": int,
    "machine": dict,
    "load_s": float,
    "prefill_tok_s": dict,
    "decode_tok_s": dict,
    "batch_tok_s": dict,
    "decode_read_share": float,
    "prefill_peak_share": float,
    "peak_rss_bytes": int,
}
#: Longer than the tiny models' context of 1024 tokens; more answers than run at once.
SMALL = Workload((4, 2000), (0, 40), (1, 3, 2000), tokens=4, repeats=2, profile=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("bench") / "tiny")


def speeds_of(path: Path, workload: Workload = SMALL, isa: str | None = None) -> Speeds:
    model = load(path, threads=2, isa=isa)
    bench = Bench(model.engine, workload, lambda done, total: None, choose_isa(isa))
    return bench.run(model.scheme, 0.5)


@pytest.fixture(scope="module")
def speeds(folder: Path) -> Speeds:
    return speeds_of(folder)


def test_every_size_has_a_rate_or_a_reason(speeds: Speeds) -> None:
    assert list(speeds.prefill) == [4, 2000]
    assert list(speeds.decode) == [0, 40]
    assert list(speeds.batch) == [1, 3, 2000]
    for rate in (speeds.prefill[4], *speeds.decode.values(), speeds.batch[1], speeds.batch[3]):
        assert rate.tok_s
        assert rate.low
        assert rate.high
        assert rate.low <= rate.tok_s <= rate.high
        assert rate.repeats == 2
    assert speeds.prefill[2000] == Rate(
        reason="it needs 2001 tokens; context and cache have room for 1024"
    )
    assert speeds.batch[2000].tok_s is None
    assert "never ran all at once" in str(speeds.batch[2000].reason)


def test_bytes_and_operations_are_those_of_the_weights(folder: Path, speeds: Speeds) -> None:
    layers = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96)  # q, o; k, v; gate, up, down
    head = 384 * 64
    assert speeds.token_operations == 2 * layers
    assert speeds.row_operations == 2 * head
    biases = 2 * (64 + 32 + 32)
    assert 4 * (layers + head + biases) <= speeds.weight_bytes < 4.2 * (layers + head + biases)
    assert speeds.cache_bytes == 2 * 2 * 2 * 2 * 16  # k and v, float16, layers, heads, head_dim
    assert not speeds.integer


def test_the_profile_knows_the_operations(speeds: Speeds) -> None:
    assert speeds.profile is not None
    assert set(speeds.profile) == {"prefill", "decode"}
    for spent in speeds.profile.values():
        assert {"linear", "attention", "waiting"} <= set(spent)
        assert all(seconds >= 0 for seconds in spent.values())
        assert list(spent.values()) == sorted(spent.values(), reverse=True)


@pytest.mark.parametrize("recipe", [load_recipe("int8"), INT4], ids=["int8", "int4"])
def test_quantized_models_are_measured(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    quantize(folder, recipe, tmp_path / recipe.name)
    found = speeds_of(tmp_path / recipe.name, Workload((8,), (0,), (2,), tokens=3, repeats=1))
    assert found.scheme.startswith(recipe.name)
    assert found.integer
    assert found.decode[0].tok_s
    assert found.profile is None


#: Multiply-adds of one weight and one input in 16 bits.
DIGITS = {"avx_vnni": 2, "avx512_vnni": 2, "avx512_bf16": 2, "amx": 2}


@pytest.mark.parametrize("isa", _core.supported_isas())
@pytest.mark.parametrize("kind", [GgmlType.Q8_0, GgmlType.Q4_0], ids=str)
def test_a_gguf_model_that_stays_codes_multiplies_integers(
    folder: Path, tmp_path: Path, kind: GgmlType, isa: str
) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", folder, kind=kind)
    found = speeds_of(path, Workload((8,), (), (), tokens=2, repeats=1), isa)
    assert found.integer
    layers = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96)
    assert found.token_operations == 2 * DIGITS.get(isa, 1) * layers
    assert found.row_operations == 2 * DIGITS.get(isa, 1) * 384 * 64


@pytest.mark.parametrize(
    ("dtype", "isa", "count"),
    [
        ("b6", "amx", 2),
        ("b6", "neon_i8mm", 1),
        ("i8", "amx", 1),
        ("bf16", "amx", 1),
        ("bf16", "avx512_bf16", 1),
        ("f32", "amx", 1),
    ],
)
def test_an_input_in_two_parts_is_multiplied_twice(dtype: str, isa: str, count: int) -> None:
    assert multiply_adds(dtype, isa) == count


def test_lengths_without_room_are_never_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    ids = Bench._ids

    def counted(self: Bench, count: int, seed: int | None = None) -> list[int]:
        made.append(count)
        assert sum(made) < 1000, "it builds prompts that have no room"
        return ids(self, count, seed)

    monkeypatch.setattr(Bench, "_ids", counted)
    found = speeds_of(folder, Workload((10**9,), (10**9,), (10**9,), tokens=2, repeats=1))
    words = "tokens; context and cache have room for 1024"
    assert found.prefill[10**9].reason == f"it needs {10**9 + 1} {words}"
    assert found.decode[10**9].reason == f"it needs {10**9 + 3} {words}"
    assert "never ran all at once" in str(found.batch[10**9].reason)


def test_progress_counts_every_size(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    model = load(folder, threads=1)
    workload = Workload((4,), (0, 9), (1,), tokens=2, repeats=1)
    bench = Bench(model.engine, workload, lambda *at: told.append(at), choose_isa())
    bench.run(model.scheme, 0.0)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_memory_that_does_not_suffice_is_a_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folder, threads=1)
    answer = Bench._answer

    def short(self: Bench, prompts: list[list[int]], *rest: Any) -> Any:
        if len(prompts) > 1:
            raise MemoryError
        return answer(self, prompts, *rest)

    monkeypatch.setattr(Bench, "_answer", short)
    workload = Workload((4,), (0,), (1, 2), tokens=2, repeats=1)
    found = Bench(model.engine, workload, lambda *_: None, choose_isa()).run(model.scheme, 0.0)
    assert found.batch[1].tok_s
    assert found.batch[2] == Rate(reason="there is not enough memory")


def reading(value: float) -> Reading:
    return Reading(value=value, unit="B/s", kind="measured", source="a test", low=1.0, high=2.0)


LIMITS = {
    "read_bandwidth": reading(40e9),
    "int8_peak": reading(2e12),
    "bf16_peak": reading(0.5e12),
}
FOUND = Speeds(
    scheme="int8",
    load_s=1.5,
    prefill={100: Rate(500.0, 400.0, 600.0, 3), 9000: Rate(reason="too long")},
    decode={0: Rate(50.0, 49.0, 51.0, 3)},
    batch={10: Rate(400.0, 390.0, 410.0, 3)},
    weight_bytes=600_000_000,
    cache_bytes=1000.0,
    cache_budget_bytes=250_000_000,
    token_operations=800_000_000,
    row_operations=200_000_000,
    integer=True,
    peak_rss_bytes=10**9,
)


def test_shares_are_those_of_the_nearer_limit() -> None:
    workload = Workload(tokens=32)
    shares = Shares(FOUND, LIMITS, workload)
    prefill = shares.prefill(500.0, 100)
    assert (prefill.bound, prefill.share) == ("peak", pytest.approx(500 * 0.8e9 / 2e12))
    decode = shares.decode(50.0, 1000)
    assert decode.gb_s == pytest.approx(50 * (600e6 + 1000 * 1016) / 1e9)
    assert (decode.bound, decode.share) == ("read", pytest.approx(decode.gb_s / 40))
    batch = shares.batch(400.0, 10)
    assert batch.tops == pytest.approx(400 * 1e9 / 1e12)
    assert batch.gb_s == pytest.approx(400 * (60e6 + 1000 * (BATCH_PROMPT + 16)) / 1e9)
    assert batch.bound == "read"


def test_the_document_says_what_is_missing() -> None:
    found = rows(FOUND, Shares(FOUND, LIMITS, Workload()))
    made: Any = document(Path("m"), MACHINE, LIMITS, reading(800e6), FOUND, found)
    assert (made["peak_rss_ratio"], made["cache_budget_ratio"]) == (1.25, 0.3125)
    assert made["prefill_tok_s"] == {"100": 500.0, "9000": None}
    assert made["missing"] == {"prefill_9000": "too long"}
    assert made["machine"] == MACHINE | {"read_gb_s": 40, "int8_tops": 2, "bf16_tflops": 0.5}
    assert made["prefill_peak_share"] == pytest.approx(0.2)
    assert made["decode_read_share"] == pytest.approx(50 * (600e6 + 16e3) / 40e9)
    assert made["readings"]["batch_speed_10"].low == 390.0
    assert "prefill_speed_9000" not in made["readings"]


MACHINE: Any = {"processor": "a test", "threads": 2, "isa": "portable"}


@pytest.fixture
def limits_asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, bool]]:
    """What the machine's limits are asked for with; measuring them is another test's matter."""
    asked = []

    def known(*, threads: int, isa: str, quick: bool, update: child.Update) -> dict[str, Reading]:
        asked.append((threads, isa, quick))
        return LIMITS

    monkeypatch.setattr("lichen.measure.measure_limits", known)
    return asked


def test_json_is_the_contract(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    limits_asked: list[tuple[int, str, bool]],
) -> None:
    folder = write_tiny_model(tmp_path / "tiny", "llama")
    model = write_tiny_gguf(tmp_path / "tiny.gguf", folder, pre="llama-bpe")
    assert run(["bench", str(model), "--quick", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert limits_asked == [(1, choose_isa(), True)]
    assert found["peak_rss_ratio"] == found["peak_rss_bytes"] / model.stat().st_size
    assert found["cache_budget_ratio"] == pytest.approx(CACHE_BYTES / model.stat().st_size, 0.01)
    for name, kind in CONTRACT.items():
        assert isinstance(found[name], kind), name
    assert {"read_gb_s", "int8_tops", "bf16_tflops"} <= found["machine"].keys()
    assert found["prefill_tok_s"].keys() == {"128", "512", "2048"}
    assert found["decode_tok_s"].keys() == {"0", "1024", "4096"}
    assert found["batch_tok_s"].keys() == {"1", "8", "32"}
    missing = {"prefill_2048", "decode_1024", "decode_4096"}  # the context is 1024
    assert found["missing"].keys() == missing
    assert found["decode_tok_s"]["4096"] is None
    assert found["threads"] == 1
    assert found["isa"] == choose_isa()
    assert all(found["readings"][name]["kind"] == "measured" for name in found["readings"])


def test_people_get_a_table(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    limits_asked: list[tuple[int, str, bool]],
) -> None:
    sizes = ["--prompt-tokens", "9,5", "--context", "0", "--batch", "1,2", "--gen-tokens", "3"]
    machine = ["--threads", "2", "--isa", "portable"]
    assert run(["bench", str(folder), "--profile", *sizes, *machine]) == 0
    assert limits_asked == [(2, "portable", False)]
    shown = capsys.readouterr().out
    for words in ("memory read", "read 5 tokens", "write behind 0", "1 answer ", "2 answers"):
        assert words in shown
    for words in ("40.0 GB/s", "2.00 TOPS", "0.50 TFLOPS", "times the files", "full cache"):
        assert words in shown
    [model] = (line for line in shown.splitlines() if line.startswith("float32:"))
    assert "on disk" in model
    assert "peak memory" in model
    [head] = (line for line in shown.splitlines() if "tok/s" in line)
    assert re.split(r"\s{2,}", head.strip()) == ["tok/s", "range", "GB/s", "TOPS", "of the limit"]
    [answer] = (line for line in shown.splitlines() if line.startswith("1 answer "))
    assert re.search(r"\d% (read|peak)$", answer)
    assert shown.index("read 5 tokens") < shown.index("read 9 tokens")
    assert "attention" in shown


@pytest.mark.parametrize(
    "options",
    [
        ["--batch", "0"],
        ["--batch", "1,,2"],
        ["--batch", "-1"],
        ["--prompt-tokens", "0"],
        ["--prompt-tokens", "many"],
        ["--context", ""],
        ["--gen-tokens", "0"],
        ["--threads", "0"],
        ["--threads", "100000"],
        ["--isa", "pentium"],
    ],
    ids=" ".join,
)
def test_bad_options_are_one_error(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", str(folder), *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert 1 <= len(shown.err.splitlines()) <= 3
    assert "Traceback" not in shown.err


def test_a_model_that_cannot_be_loaded_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError):
        measure_speeds(tmp_path, SMALL)


def test_limits_are_readings_with_a_range() -> None:
    found = measure_limits(threads=1, isa=choose_isa(), quick=True)
    assert {name: r.unit for name, r in found.items()} == {
        "read_bandwidth": "B/s",
        "int8_peak": "op/s",
        "bf16_peak": "op/s",
    }
    for r in found.values():
        assert r.low is not None
        assert r.high is not None
        assert 0 < r.low <= r.value <= r.high


def test_the_buffer_is_much_larger_than_the_caches(tmp_path: Path) -> None:
    for index, size in enumerate(("48K", "2048K", "105M", "odd")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    assert limits.last_level_cache(tmp_path) == 105 << 20
    assert limits.last_level_cache(tmp_path / "nowhere") == 0
    assert limits.buffer_bytes() >= 4 * limits.last_level_cache()


def test_prompts_are_new_each_time_and_contexts_the_same(folder: Path) -> None:
    bench = Bench(load(folder, threads=1).engine, SMALL, lambda *_: None, choose_isa())
    assert not np.array_equal(bench._ids(50), bench._ids(50))
    assert np.array_equal(bench._ids(50, seed=1), bench._ids(50, seed=1))
