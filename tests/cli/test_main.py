"""The command line as a whole: help, errors, exit codes, streams."""

from __future__ import annotations

import errno
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lichen.cli.exits import explain
from lichen.cli.main import cli, run
from lichen.errors import InputError, ResourceError

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
LICHEN = [sys.executable, "-m", "lichen"]


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the tree, with the words that lead to it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())
EACH = pytest.mark.parametrize("path", ALL, ids=" ".join)


def test_the_commands_are_those_of_the_contract() -> None:
    assert [path[0] for path in ALL if path[0] not in ("tasks", "models", "recipes")] == [
        *("check", "quantize", "export", "generate", "verify", "divergence", "bench"),
        *("report", "doctor"),
    ]
    assert [path[1] for path in ALL if path[0] == "tasks"] == [
        *("fetch", "list", "run", "score", "show", "validate")
    ]
    assert [path[1] for path in ALL if path[0] == "recipes"] == ["explain", "list", "show"]
    assert [path[1] for path in ALL if path[0] == "models"] == ["fetch", "info", "list"]


@EACH
def test_help_has_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr()
    assert f"Example: lichen {' '.join(path)}" in shown.out
    assert "--json" in shown.out
    assert shown.err == ""


@EACH
def test_the_example_parses(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.epilog is not None
    words = shlex.split(command.epilog.removeprefix("Example: lichen "))
    assert tuple(words[: len(path)]) == path
    command.make_context(path[-1], words[len(path) :])


@pytest.mark.parametrize("path", [("tasks", "list"), ("tasks", "show"), ("models", "list")])
def test_the_example_works(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split((ALL[path].epilog or "").removeprefix("Example: lichen "))
    assert run(words) == 0
    assert capsys.readouterr().out


@EACH
def test_an_unknown_option_is_one_error_with_a_pointer(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--jsno"]) == 2
    shown = capsys.readouterr()
    first, second = shown.err.splitlines()
    assert first.startswith("lichen: error: No such option")
    assert "--json" in first
    assert second == f"lichen: try `lichen {' '.join(path)} --help`."
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chekc"], "did you mean check?"),
        (["tasks", "lst"], "did you mean list?"),
        (["zzzz"], "there are check, quantize"),
        (["verify", "a"], "CANDIDATE"),
        (["quantize", "a"], "--out"),
        (["generate", "m"], "one of --prompt"),
        (["generate", "m", "-", "--prompt", "x"], "one of --prompt"),
        (["generate", "m", "--prompt", "x", "--draft", "n", "--no-speculate"], "leave one out"),
        (["check", "--recipe", "a", "--recipe", "b"], "one --recipe at a time"),
        (["check", "--margin", "0"], "margin"),
        (["check", "--threads", "none"], "--threads"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_ends_with_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) <= 2


def test_help_imports_nothing_heavy_and_is_quick(tmp_path: Path) -> None:
    """As it is with an installed package, whose bytecode pip has made."""
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    code = (
        "import sys; from lichen.cli.main import run; run(['--help']);"
        "heavy = {'numpy', 'rich', 'msgspec', 'tokenizers', 'huggingface_hub', 'jinja2'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", code],
            env=ENVIRONMENT | kept,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.3, seconds


def test_version() -> None:
    done = subprocess.run([*LICHEN, "--version"], env=ENVIRONMENT, capture_output=True, check=True)
    assert done.stdout.startswith(b"lichen ")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("no\n  such\tmodel"), 2, "error: no such model"),
        (ResourceError("worker died"), 4, "error: worker died"),
        (MemoryError(), 4, "out of memory"),
        (OSError(errno.ENOSPC, "No space left", "f"), 4, "disk is full (f)"),
        (OSError(errno.EDQUOT, "Quota"), 4, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 2, "f: permission denied"),
        (KeyboardInterrupt(), 130, "run the same command again"),
        (click.Abort(), 130, "interrupted"),
        (KeyError("x"), 4, "unexpected KeyError"),
        (click.UsageError("what?"), 2, "what?"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_kind_of_failure_has_its_code(error: BaseException, code: int, words: str) -> None:
    failure = explain(error)
    assert failure.code == code
    assert words in failure.lines[0]
    assert "\n" not in failure.lines[0]


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert run(["report", str(tmp_path), "--debug"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "lichen: error:" in told.splitlines()[-1]


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe's end to write to, whose reader went away."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_a_reader_that_goes_away_is_no_error(unread: int) -> None:
    done = subprocess.run(
        [*LICHEN, "tasks", "list", "basics"],
        env=ENVIRONMENT,
        stdout=unread,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_ends_with_4() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*LICHEN, "tasks", "list"],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 4
    assert b"disk is full" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stderr_does_not_change_the_exit_code() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [*LICHEN, "models", "info", "/nothere"]
        done = subprocess.run(command, env=ENVIRONMENT, stderr=full, check=False)
    assert done.returncode == 2


def test_nobody_reading_stderr_does_not_change_the_exit_code(unread: int) -> None:
    command = [*LICHEN, "models", "info", "/nothere"]
    done = subprocess.run(command, env=ENVIRONMENT, stderr=unread, check=False)
    assert done.returncode == 2


def test_progress_that_cannot_be_told_ends_nothing(unread: int) -> None:
    program = (
        "from lichen.cli.progress import TerminalProgress\n"
        "progress = TerminalProgress(); progress.say('a')\n"
        "with progress.step('b'): pass\n"
        "print('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=unread,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"went on\n")


def test_a_table_that_nobody_reads_is_no_error(unread: int) -> None:
    program = (
        "from rich.table import Table; from lichen.cli.output import emit_rich\n"
        "emit_rich(Table('a'), Table('b'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=ENVIRONMENT,
        stdout=unread,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_error_does_not_wait_for_what_runs_beside() -> None:
    """A pool's threads are waited for at an ordinary exit, with all that is queued for them."""
    program = (
        "import time; from concurrent.futures import ThreadPoolExecutor\n"
        "from lichen import cli; from lichen.cli import main\n"
        "def run(_):\n"
        "    ThreadPoolExecutor(1).submit(time.sleep, 60)\n"
        "    return 130\n"
        "main.run = run; cli.start()"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, env=ENVIRONMENT, timeout=20, check=False).returncode == 130


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_with_130(interruption: signal.Signals) -> None:
    process = subprocess.Popen(
        [*LICHEN, "generate", "nothing", "-"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the prompt
        process.wait(1)
    process.send_signal(interruption)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"run the same command again" in told
    assert b"Traceback" not in told


def test_ctrl_c_while_importing_ends_with_130(tmp_path: Path) -> None:
    """A click that is interrupted as it is imported stands for Ctrl-C in the first moments."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "lichen", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (130, "lichen: interrupted.\n")
