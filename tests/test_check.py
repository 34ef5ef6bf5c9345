"""The main job on tiny random models, through the API and the command line; no part is a fake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.tiny import write_tiny_model
from tests.verify.fakes import write_tasks

import lichen
from lichen.check import Effort
from lichen.cli.main import run
from lichen.completion import Request
from lichen.verify.record import Record
from lichen.verify.settings import Settings

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
QUICK = ["--max-tokens", "8", "--robustness", "2", "--threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, and six tasks."""
    folder = tmp_path_factory.mktemp("place")
    config(max_position_embeddings=4096)(write_tiny_model(folder / "model"))
    write_tasks(folder / "tasks.jsonl", 6)
    return folder


@pytest.fixture(scope="module")
def done(place: Path) -> Path:
    """A finished run."""
    code = run(arguments(place, place / "run"))
    assert code == 3, "six tasks that nobody solves decide nothing"
    return place / "run"


def arguments(place: Path, out: Path) -> list[str]:
    tasks = str(place / "tasks.jsonl")
    return ["check", str(place / "model"), "--tasks", tasks, *QUICK, "--out", str(out)]


def read(folder: Path) -> Record:
    return msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)


def test_a_run_leaves_record_completions_report_and_model(done: Path) -> None:
    names = {path.name for path in done.iterdir()}
    assert {"record.json", "completions.jsonl", "report.html", "model-int8"} <= names
    record = read(done)
    assert record.candidate.scheme == "int8"
    assert record.reference.scheme == "float32"
    assert record.candidate.path == str(done / "model-int8")
    assert record.robustness is not None
    assert record.divergence is not None
    assert record.resources is not None
    for readings in (record.resources.reference, record.resources.candidate):
        assert {"size", "load_time", "peak_memory", "decode_speed"} <= set(readings)
    assert record.sandbox_level in ("full", "strong", "reduced")


def test_the_same_command_again_does_nothing_twice(
    place: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read(done)
    stamps = {p: p.stat().st_mtime_ns for p in (done / "model-int8").iterdir()}
    assert run(arguments(place, done)) == 3
    told = capsys.readouterr()
    assert "already there" in told.err
    assert "generating" not in told.err
    assert "measuring" not in told.err
    assert {p: p.stat().st_mtime_ns for p in (done / "model-int8").iterdir()} == stamps
    assert same_but_times(read(done)) == same_but_times(before)


def same_but_times(record: Record) -> Record:
    return msgspec.structs.replace(record, created="", duration_seconds=0.0, command="")


def test_json_is_one_document_with_everything(
    place: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments(place, done), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["decision"] == "undecided"
    assert Path(document["paths"]["report"]).is_file()
    assert msgspec.convert(document["record"], Record) == read(done)


def test_the_output_ends_in_two_lines_for_a_log(
    place: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(arguments(place, done))
    *_, decision, evidence = capsys.readouterr().out.splitlines()
    assert decision == "decision: undecided (exit code 3)"
    assert evidence.startswith("evidence: tasks ")
    assert "smallest detectable drop" in evidence


def test_the_decision_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read(done)
    for decision, code in (("accept", 0), ("reject", 1), ("undecided", 3)):
        verdict = msgspec.structs.replace(record.verdict, decision=decision)
        changed = msgspec.structs.replace(record, verdict=verdict)
        monkeypatch.setattr("lichen.check.verify", lambda *_, r=changed, **__: r)
        assert run(["verify", "a", "b", "--out", str(done)]) == code
        assert f"decision: {decision} (exit code {code})" in capsys.readouterr().out


def test_a_model_against_itself_shows_no_flip(place: Path, tmp_path: Path) -> None:
    record = lichen.verify(
        place / "model",
        place / "model",
        out=tmp_path / "run",
        settings=Settings(tasks=(str(place / "tasks.jsonl"),), max_tokens=8, robustness_tasks=0),
        effort=Effort(threads=1, resources=False),
    )
    assert isinstance(record, Record)
    assert record.correctness[0].lost == record.correctness[0].gained == []
    assert record.divergence is not None
    assert record.divergence.kld_max == 0
    assert record.divergence.top1_agreement == 1


def test_report_writes_the_report_again(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (done / "report.html").unlink()
    assert run(["report", str(done)]) == 0
    assert (done / "report.html").is_file()
    assert "report:" in capsys.readouterr().out


def test_the_quantized_model_generates(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(done / "model-int8")
    prompt = ["--prompt", "def f(x):\n", "--max-tokens", "6", "--threads", "1"]
    assert run(["generate", model, *prompt]) == 0
    streamed = capsys.readouterr().out
    assert run(["generate", model, *prompt, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["completion"]["text"].rstrip("\n") == streamed.rstrip("\n")
    decoding = document["seconds"] - document["first_token_seconds"]
    assert document["first_token_seconds"] > 0
    assert document["tokens_per_second"] == pytest.approx(5 / decoding)
    assert run(["generate", model, *prompt, "--max-tokens", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_per_second"] is None
    assert run(["generate", model, "--chat", *prompt]) == 0


def test_divergence_and_bench_give_json(
    place: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = place / "text.py"
    text.write_text("def f(x):\n    return x\n" * 4)
    models = [str(place / "model"), str(done / "model-int8")]
    assert run(["divergence", *models, "--text", str(text), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kld_mean"] > 0
    assert run(["divergence", *models, "--text", str(text)]) == 0
    assert "KL divergence" in capsys.readouterr().out
    assert run(["bench", models[0], "--threads", "1", "--quick", "--json"]) == 0
    assert "decode_speed_0" in json.loads(capsys.readouterr().out)["readings"]


def test_a_short_context_leaves_long_tasks_out_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config(max_position_embeddings=500)(write_tiny_model(tmp_path / "model"))
    short, long = write_tasks(tmp_path / "tasks.jsonl", 2).read_text().splitlines()
    long = long.replace("Return", "Return " + "very " * 40 + "carefully")
    (tmp_path / "tasks.jsonl").write_text(f"{short}\n{long}\n")
    assert run(arguments(tmp_path, tmp_path / "run")) == 3
    record = read(tmp_path / "run")
    [excluded] = record.correctness[0].excluded
    assert excluded.task == "t/add_1"
    assert "too long for the reference: the prompt has" in excluded.reason
    assert record.correctness[0].count == 1
    assert record.resources is not None, "measuring takes shorter prompts"


def test_the_python_verbs(place: Path, tmp_path: Path) -> None:
    model = lichen.load(place / "model", threads=1)
    [(index, completion)] = model.generate([Request("def f(x):\n", max_tokens=3)])
    assert (index, completion.tokens) == (0, 3)
    report = lichen.quantize(place / "model", out=tmp_path / "int8")
    assert report.path == tmp_path / "int8"
    assert callable(lichen.check)
    assert set(lichen.__all__) <= set(dir(lichen))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lichen.nonsense


# --- bad input ------------------------------------------------------------------------------


def config(**changes: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def truncate(share: float) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        path = model / "model.safetensors"
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return change


def lie(model: Path) -> None:
    """The header says that the first tensor ends a byte later."""
    path = model / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = next(name for name in header if name != "__metadata__")
    header[name]["shape"][0] += 1
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def gone(model: Path) -> None:
    shutil.rmtree(model)


BAD_MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "not there": (gone, "model"),
    "unknown model type": (config(model_type="mamba"), "mamba"),
    "unknown field that changes numbers": (config(logit_scale=2.0), "logit_scale"),
    "a width beyond any model": (config(hidden_size=1 << 60), "hidden_size"),
    "layers without end": (config(num_hidden_layers=10**9), "num_hidden_layers"),
    "an epsilon that is no number": (config(rms_norm_eps=float("nan")), "rms_norm_eps"),
    "no weights": (truncate(0), "safetensors"),
    "truncated header": (truncate(0.01), "safetensors"),
    "truncated weights": (truncate(0.9), "safetensors"),
    "lying header": (lie, "safetensors"),
    "no tokenizer": (no_tokenizer, "tokenizer"),
}


@pytest.mark.parametrize("verb", ["check", "quantize", "verify", "generate", "info"])
@pytest.mark.parametrize("fault", BAD_MODELS)
def test_a_bad_model_is_one_error_and_leaves_nothing(
    fault: str, verb: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words = BAD_MODELS[fault]
    model = Path(shutil.copytree(place / "model", tmp_path / "model"))
    spoil(model)
    before = set(tmp_path.rglob("*"))
    out = ["--out", str(tmp_path / "out" / "run")]
    line = {
        "check": ["check", str(model), *out, "--tasks", str(place / "tasks.jsonl")],
        "quantize": ["quantize", str(model), *out],
        "verify": ["verify", str(place / "model"), str(model), *out],
        "generate": ["generate", str(model), "--prompt", "x"],
        "info": ["models", "info", str(model)],
    }[verb]
    assert run(line) == 2
    expect_one_error(capsys.readouterr(), words)
    assert set(tmp_path.rglob("*")) == before


def expect_one_error(shown: Any, words: str) -> None:
    told = [text for text in shown.err.splitlines() if text.startswith("lichen:")]
    assert len(told) == 1
    assert told[0].startswith("lichen: error: ")
    assert words in told[0]
    assert "Traceback" not in shown.err
    assert shown.out == ""


BAD_ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "unknown recipe": (["--recipe", "int9"], "int9"),
    "unknown recipe key": (["--recipe", "{place}/bad.toml"], "colour"),
    "unknown task set": (["--tasks", "nonsense"], "nonsense"),
    "task set not there": (["--tasks", "{place}/none.jsonl"], "none.jsonl"),
    "more tasks than there are": (["--tasks", "basics:9999"], "9999"),
    "unknown perturbation": (["--perturbation", "nonsense"], "nonsense"),
    "unknown instruction set": (["--isa", "mmx"], "mmx"),
    "folder is not empty": (["--out", "{place}/full"], "not empty"),
    "folder is a file": (["--out", "{place}/full/thing"], "thing"),
    "impossible grid": (["--grid", "-5"], "carbon"),
}


@pytest.mark.parametrize("fault", BAD_ARGUMENTS)
def test_a_bad_argument_is_one_error_and_leaves_nothing(
    fault: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, words = BAD_ARGUMENTS[fault]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").write_text("mine")
    (tmp_path / "bad.toml").write_text('colour = "red"\n[[layers]]\nmatch = "*"\nkeep = true\n')
    before = set(tmp_path.rglob("*"))
    line = arguments(place, tmp_path / "run") + [g.format(place=tmp_path) for g in given]
    assert run(line) == 2
    expect_one_error(capsys.readouterr(), words)
    assert set(tmp_path.rglob("*")) == before


def test_a_model_that_was_not_fetched_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LICHEN_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(["check", "qwen2.5-coder-1.5b"]) == 2
    told = capsys.readouterr().err
    assert "lichen models fetch qwen2.5-coder-1.5b" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["out/int8", "qwen2.5-coder-0.5"])
def test_fetch_does_not_take_a_mistyped_path_to_the_network(
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("lichen.checkpoint.hub.fetch", lambda name, **_: asked.append(name))
    monkeypatch.chdir(tmp_path)
    assert run(["check", model, "--fetch"]) == 2
    expect_one_error(capsys.readouterr(), model)
    assert asked == []
    assert list(tmp_path.iterdir()) == []


def test_quantize_needs_force_for_a_folder_with_something_in_it(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thing").write_text("mine")
    line = ["quantize", str(place / "model"), "--out", str(tmp_path / "out")]
    assert run(line) == 2
    expect_one_error(capsys.readouterr(), "--force")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thing"]
    assert run([*line, "--force"]) == 0
    assert (tmp_path / "out" / "config.json").is_file()


# --- interruptions --------------------------------------------------------------------------


@contextmanager
def started(line: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "lichen", *line]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_during_a_check_ends_with_130_and_the_next_run_goes_on(
    place: Path, done: Path, tmp_path: Path
) -> None:
    line = arguments(place, tmp_path / "run")
    with started(line) as process:
        wait_for(tmp_path / "run" / "resources-reference.json", process)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"run the same command again" in told
    assert b"Traceback" not in told
    assert not (tmp_path / "run" / "record.json").exists()
    assert run(line) == 3
    assert outcome(read(tmp_path / "run")) == outcome(read(done))


def outcome(record: Record) -> object:
    """What two runs of the same models in different folders share."""
    return record.correctness, record.robustness, record.divergence, record.settings


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A tmpfs of one megabyte."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_full_disk_ends_with_4_and_leaves_the_old_record(
    place: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(place, small_disk / "run")
    old = b'{"schema_version": 1}'
    assert run([*line, "--no-resources", "--no-divergence"]) in (3, 4)
    (small_disk / "run" / "record.json").write_bytes(old)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 1024):
                pass
        except OSError:
            pass
    capsys.readouterr()
    assert run([*line, "--no-resources", "--no-divergence", "--max-tokens", "9"]) == 4
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("lichen: error: ")
    assert "disk" in told or "free" in told
    assert (small_disk / "run" / "record.json").read_bytes() == old
    assert not list((small_disk / "run").glob(".*.part"))
