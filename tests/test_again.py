"""Runs taken up again by their folder alone, however they were ended."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fake_server import serve, wrapping
from tests.tiny import write_tiny_model
from tests.verify.fakes import write_tasks

import lichen
from lichen.again import invocation_of, resume
from lichen.cli.main import run
from lichen.errors import InputError
from lichen.invocation import Effort, Invocation
from lichen.remote import Access
from lichen.verify.reader import COMPLETIONS, RECORD, read_completions
from lichen.verify.run import read_marker
from lichen.verify.settings import Settings

#: The command line, with models that are made of a function in place of those on disk.
CLI = """
import os, sys
from pathlib import Path
from tests.verify.fakes import MACHINE, Wavering
from lichen import check
from lichen.verify.examine import Probes

def pair(models, names, access, on_disk):
    seconds = float(os.environ.get("SECONDS_EACH", "0"))
    return [Wavering(name, seconds=seconds, share=share, path=Path(name))
            for name, share in zip(models, (0.8, 0.5))]

check.open_pair = pair
check._probes = lambda *_: Probes(machine=lambda: MACHINE)
from lichen.cli.main import run
sys.exit(run(sys.argv[1:]))
"""

UNDECIDED = 3


def environment(seconds: float) -> dict[str, str]:
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent.parent)])
    return os.environ | {"PYTHONPATH": path, "SECONDS_EACH": str(seconds)}


def start(arguments: list[str], folder: Path, seconds: float = 0.0) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CLI, *arguments],
        cwd=folder,
        env=environment(seconds),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def finish(arguments: list[str], folder: Path) -> str:
    process = start(arguments, folder)
    out, told = process.communicate(timeout=120)
    assert process.returncode == UNDECIDED, told.decode()
    return out.decode()


SETTINGS = [
    *("--tasks", "t.jsonl", "--samples", "2", "--temperature", "0.7", "--top-p", "0.9"),
    *("--robustness", "2", "--perturbation", "camel_case", "--max-tokens", "64", "--seed", "3"),
]
COMMAND = ["verify", "a", "b", *SETTINGS, "--out"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks, and a run of them that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole")
    write_tasks(place / "t.jsonl", 8)
    finish([*COMMAND, "run"], place)
    return place


def but_times(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_bytes())
    return {k: v for k, v in record.items() if k not in ("created", "duration_seconds")}


def expect_same(folder: Path, whole: Path) -> None:
    assert but_times(folder / RECORD) == but_times(whole / "run" / RECORD)
    assert (folder / COMPLETIONS).read_bytes() == (whole / "run" / COMPLETIONS).read_bytes()
    answers = (folder / "cache.jsonl").read_bytes().splitlines()
    assert len(answers) == len((whole / "run" / "cache.jsonl").read_bytes().splitlines())


@pytest.mark.parametrize("number", range(2))
def test_killed_at_any_moment_and_resumed_it_is_the_same_run(
    number: int, whole: Path, tmp_path: Path
) -> None:
    write_tasks(tmp_path / "t.jsonl", 8)
    folder = tmp_path / "run"
    process = start([*COMMAND, "run"], tmp_path, seconds=0.05)
    wait_for(folder / "run.json", process)
    answers = random.Random(number).randrange(30)
    while answered(folder) < answers:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was done before it was killed"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "decision:" in finish(["verify", "--resume", "../run"], elsewhere)
    expect_same(folder, whole)


def test_interrupted_and_resumed_it_is_the_same_run(whole: Path, tmp_path: Path) -> None:
    write_tasks(tmp_path / "t.jsonl", 8)
    process = start([*COMMAND, "run"], tmp_path, seconds=0.05)
    wait_for(tmp_path / "run" / "cache.jsonl", process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in told
    assert not (tmp_path / "run" / RECORD).exists()
    finish(["verify", "--resume", str(tmp_path / "run")], tmp_path)
    expect_same(tmp_path / "run", whole)


def test_a_finished_run_resumed_asks_nothing(whole: Path) -> None:
    before = but_times(whole / "run" / RECORD)
    process = start(["verify", "--resume", "run"], whole, seconds=60)
    _, told = process.communicate(timeout=50)
    assert process.returncode == UNDECIDED
    assert b"generating" not in told
    assert but_times(whole / "run" / RECORD) == before


def answered(folder: Path) -> int:
    """Of the 40 answers in all, how many are there."""
    cache = folder / "cache.jsonl"
    return cache.read_bytes().count(b"\n") if cache.exists() else 0


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_check_goes_on_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_model(tmp_path / "model")
    write_tasks(tmp_path / "t.jsonl", 2)
    monkeypatch.chdir(tmp_path)
    quick = ["--max-tokens", "4", "--robustness", "0", "--threads", "1"]
    leave = ["--no-resources", "--no-divergence"]
    assert run(["check", "model", "--tasks", "t.jsonl", *quick, *leave, "--out", "run"]) == 3
    before = but_times(tmp_path / "run" / RECORD)
    (tmp_path / "run" / RECORD).unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert run(["check", "--resume", "../run"]) == 3
    assert "../run/model-int8" in capsys.readouterr().out
    assert but_times(tmp_path / "run" / RECORD) == before
    assert Path.cwd() == tmp_path / "elsewhere"


def test_a_run_against_a_server_goes_on_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model on disk and behind a URL draws the same samples."""
    model = lichen.load(write_tiny_model(tmp_path / "model"), threads=1)
    tasks = str(write_tasks(tmp_path / "t.jsonl", 2))
    run_folder = tmp_path / "run"
    sampled = ["--samples", "2", "--temperature", "0.8", "--max-tokens", "4", "--robustness", "0"]
    monkeypatch.setenv("LICHEN_API_KEY", "verysecret")
    with serve(wrapping(model.generate)) as server:
        local = str(tmp_path / "model")
        line = ["verify", local, server.url, "--tasks", tasks, *sampled, "--threads", "1"]
        assert run([*line, "--style", "completion", "--out", str(run_folder)]) == UNDECIDED
        assert [content["temperature"] for content in server.posted()] == [0.8] * 4
        before = but_times(run_folder / RECORD)
        (run_folder / RECORD).unlink()
        assert run(["verify", "--resume", str(run_folder)]) == UNDECIDED
        assert len(server.posted()) == 4, "nothing is asked twice"
        assert server.calls[-1].headers["Authorization"] == "Bearer verysecret"
    assert but_times(run_folder / RECORD) == before
    assert b"verysecret" not in (run_folder / "run.json").read_bytes()
    rows = list(read_completions(run_folder))
    texts = {role: [r.text for r in rows if r.role == role] for role in ("reference", "candidate")}
    assert texts["reference"] == texts["candidate"]
    assert len(set(texts["reference"])) > 1


# --- what the folder keeps ------------------------------------------------------------------


def invocation(**changes: Any) -> Invocation:
    given: dict[str, Any] = {
        "verb": "verify",
        "models": ("a", "http://127.0.0.1:1/v1"),
        "out": "run",
        "command": "lichen verify",
        "settings": Settings(data=Path("data"), perturbations=("camel_case",), margin=0.05),
        "effort": Effort(threads=3, grid=12.5),
        "names": (None, "served"),
        "access": Access(parallel=2, timeout_seconds=5.0, endpoint="chat"),
    }
    return Invocation(**(given | changes))


def test_everything_that_was_given_comes_back(tmp_path: Path) -> None:
    asked = invocation()
    plain = json.loads(json.dumps(asked.plain()))
    assert Invocation.read(plain, tmp_path) == asked
    assert Invocation.read(invocation(effort=Effort(grid="FR")).plain(), tmp_path).effort == (
        Effort(grid="FR")
    )


def test_a_key_is_not_kept() -> None:
    asked = invocation(access=Access(key="verysecret"))
    assert "verysecret" not in json.dumps(asked.plain())
    assert msgspec.to_builtins(asked.plain())["access"]["key"] is None


# --- what cannot be taken up ----------------------------------------------------------------


def one_error(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    capsys.readouterr()
    assert run(arguments) == 2
    shown = capsys.readouterr()
    first, *rest = [line for line in shown.err.splitlines() if line.startswith("lichen:")]
    assert words in first
    assert len(rest) <= 1
    assert shown.out == ""


@pytest.mark.parametrize("option", ["--resume", "--rescore"])
def test_a_folder_that_is_no_run_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    words = "not a run of lichen" if option == "--resume" else "run.json"
    one_error(capsys, ["verify", option, str(tmp_path)], words)
    one_error(capsys, ["verify", option, str(tmp_path / "none")], "none")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_other_arguments_beside_resume_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resumed = ["verify", "--resume", str(tmp_path)]
    one_error(capsys, [*resumed, "--max-tokens", "9"], "leave out --max-tokens")
    one_error(capsys, [*resumed, "a", "b"], "leave out REFERENCE, CANDIDATE")
    one_error(capsys, [*resumed, "--rescore", "x"], "leave out --rescore")
    one_error(capsys, ["check", "m", "--resume", "x"], "leave out MODEL")
    one_error(capsys, ["verify", "--rescore", "x", "--samples", "2"], "leave out --samples")
    one_error(capsys, ["verify"], "or --resume, or --rescore")
    one_error(capsys, ["verify", "a", "b"], "--out")


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ({"lichen_run": 1}, "give the same command again, with this folder as --out"),
        ({"lichen_run": 9}, "a run in form 9"),
        ({"invocation": {"verb": "sing"}}, "cannot be read"),
        ({"invocation": {}}, "cannot be read"),
        ({"invocation": None, "lichen_run": 2}, "does not say how"),
    ],
    ids=["first form", "later form", "verb", "empty", "none"],
)
def test_a_marker_that_says_too_little_is_one_error(
    marker: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"lichen_run": 2, "subject": "s", "title": "t"} | marker
    (tmp_path / "run.json").write_text(json.dumps(whole))
    one_error(capsys, ["verify", "--resume", str(tmp_path)], words)


def test_a_run_that_was_started_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    asked = invocation(folder=str(tmp_path / "gone"))
    marker = {"lichen_run": 2, "subject": "s", "title": "t", "invocation": asked.plain()}
    (tmp_path / "run.json").write_text(json.dumps(marker))
    assert invocation_of(tmp_path) == asked
    with pytest.raises(InputError, match="gone, which is no longer there"):
        resume(tmp_path)


def test_rescoring_on_the_command_line(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (whole / "elsewhere").mkdir()
    arguments = ["verify", "--rescore", "../run", "--out", "../again"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(whole / "elsewhere")
        assert run(arguments) == UNDECIDED
        told = capsys.readouterr().out
        assert "0 of" in told
        assert "verdicts changed" in told
        assert told.splitlines()[-2].startswith("decision: undecided")
        assert run([*arguments, "--json"]) == UNDECIDED
    document = json.loads(capsys.readouterr().out)
    assert document["record"]["rescored"]["changed"] == []
    marker = read_marker(whole / "again")
    assert marker is not None
    with pytest.raises(InputError, match="does not say how"):
        resume(whole / "again")
