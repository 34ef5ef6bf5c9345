"""``lichen tasks`` with the real sandbox."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from tests.verify.fakes import write_tasks

from lichen.cli.main import run
from lichen.errors import InputError


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    return str(write_tasks(tmp_path / "tasks.jsonl", 4))


def test_the_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "list"]) == 0
    assert {"basics", "humaneval"} <= {
        line.split()[0] for line in capsys.readouterr().out.splitlines()
    }
    assert run(["tasks", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "basics"


def test_the_tasks_of_a_set_are_listed(tasks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "list", tasks]) == 0
    assert "t/add_3" in capsys.readouterr().out
    assert run(["tasks", "list", tasks, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tasks"]) == 4


def test_a_task_is_shown(tasks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "show", "t/add_2", "--tasks", tasks]) == 0
    shown = capsys.readouterr().out
    assert "def add_2(value):" in shown
    assert "assert candidate(1) == 3" in shown


def test_a_task_is_found_in_the_named_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "list", "basics", "--json"]) == 0
    some = json.loads(capsys.readouterr().out)["tasks"][-1]["id"]
    assert run(["tasks", "show", some, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == some


@pytest.mark.parametrize(
    ("body", "verdict", "code"),
    [("value + 1", "passed", 0), ("value", "failed", 1), ("1 / 0", "error", 1)],
)
def test_a_solution_is_run(
    body: str,
    verdict: str,
    code: int,
    tasks: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    solution = tmp_path / "s.py"
    solution.write_text(f"def add_1(value):\n    return {body}\n")
    line = ["tasks", "run", "--task", "t/add_1", "--tasks", tasks, "--solution", str(solution)]
    assert run(line) == code
    assert capsys.readouterr().out.startswith(f"t/add_1: {verdict}")
    assert run([*line, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["result"]["verdict"] == verdict


def write_samples(path: Path, count: int) -> Path:
    """Two samples for each of `count` tasks; the first is right."""
    rows = [
        {"task_id": f"t/add_{task}", "completion": f"    return value + {task + sample}\n"}
        for task in range(count)
        for sample in range(2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_samples_are_scored_by_the_unbiased_estimator(
    tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_samples(tmp_path / "samples.jsonl", 4)
    line = ["tasks", "score", str(file), "--tasks", tasks]
    assert run([*line, "-k", "1", "-k", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["all"]
    assert (found["tasks"], found["answered"], found["samples"]) == (4, 4, 8)
    assert (found["pass@1"], found["pass@2"]) == (0.5, 1.0)
    assert found["verdicts"] == {"passed": 4, "failed": 4}
    assert run(line) == 0
    assert capsys.readouterr().out == (
        "all: pass@1 50.0% of 4 tasks\n  8 samples: 4 passed, 4 failed\n"
    )
    assert run([*line, "-k", "3"]) == 2
    assert "needs as many samples" in capsys.readouterr().err


def test_tasks_without_an_answer_are_told(
    tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_samples(tmp_path / "samples.jsonl", 1)
    assert run(["tasks", "score", str(file), "--tasks", tasks]) == 0
    assert capsys.readouterr().out.startswith(
        "all: pass@1 50.0% of the 1 tasks that were answered; pass@1 12.5% of all 4, the 3 others"
        " counted as failed\n"
    )


def test_verdicts_of_samples_are_written_whole_and_never_over_others(
    tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_samples(tmp_path / "samples.jsonl", 2)
    out = tmp_path / "results.jsonl"
    line = ["tasks", "score", str(file), "--tasks", tasks, "--out", str(out)]
    assert run(line) == 0
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    assert [(r["task_id"], r["sample"], r["passed"]) for r in rows] == [
        *(("t/add_0", 0, True), ("t/add_0", 1, False)),
        *(("t/add_1", 0, True), ("t/add_1", 1, False)),
    ]
    assert rows[1]["verdict"] == "failed"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("results.jsonl", "samples.jsonl", "tasks.jsonl")
    ]
    out.write_text("mine")
    assert run(line) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert run([*line, "--force"]) == 0
    assert len(out.read_text().splitlines()) == 4


def test_a_reference_that_fails_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = str(write_tasks(tmp_path / "tasks.jsonl", 2, broken=[1]))
    assert run(["tasks", "validate", tasks]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("t/add_1: failed AssertionError in: assert candidate(1) == 2")
    assert shown[1] == "1 of 2 references pass, 0 of them forgeable"
    file = write_samples(tmp_path / "samples.jsonl", 2)
    assert run(["tasks", "score", str(file), "--tasks", tasks, "--validate"]) == 0
    told = capsys.readouterr()
    assert "left out t/add_1: its reference does not pass: failed" in told.err
    assert "50.0% of the 1 tasks" in told.out
    file.write_text(json.dumps({"task_id": "t/add_1", "completion": "    return 1"}))
    assert run(["tasks", "score", str(file), "--tasks", tasks, "--validate"]) == 2
    assert "every task that has samples was left out" in capsys.readouterr().err


GOOD = {
    "task_id": "t/0",
    "prompt": 'def f():\n    """One."""\n',
    "entry_point": "f",
    "canonical_solution": "    return 1\n",
    "test": "assert f() == 1",
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([GOOD | {"test": ""}], "'t/0': it has no tests"),
        ([GOOD, GOOD], "'t/0' is there 2 times"),
        ([GOOD, "{"], "bad.jsonl:2: this line is not JSON"),
        ([GOOD | {"entry_point": "g"}], "does not define the entry point 'g'"),
        ([GOOD | {"prompt": 7}], "bad.jsonl:1: a task needs the text fields"),
        ([], "no tasks in it"),
        (None, "Is a directory"),
        (gzip.compress(b"{}" * 500)[:-9], "ended before the end-of-stream marker"),
    ],
    ids=["no-tests", "duplicate", "broken", "entry-point", "type", "empty", "folder", "torn-gz"],
)
def test_a_bad_task_file_is_one_error(
    content: list[object] | bytes | None,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "bad.jsonl"
    if content is None:
        file.mkdir()
    elif isinstance(content, bytes):
        file = tmp_path / "bad.jsonl.gz"
        file.write_bytes(content)
    else:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in content]
        file.write_text("\n".join(lines))
    for line in (
        ["list", str(file)],
        ["validate", str(file)],
        ["show", "t/0", "--tasks", str(file)],
    ):
        assert run(["tasks", *line]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("lichen: error: ")
        assert words in shown.err
        assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    [
        ["tasks", "show", "nonsense/1"],
        ["tasks", "list", "nonsense"],
        ["tasks", "score", "/nonsense.jsonl"],
        ["tasks", "run", "--task", "nonsense/1", "--solution", "x"],
        ["models", "fetch", "nonsense"],
        ["models", "info", "nonsense"],
        ["report", "/nonsense"],
        ["generate", "nonsense", "--prompt", "x"],
        ["generate", "nonsense", "--prompt-file", "/nonsense"],
        ["divergence", "nonsense", "nonsense"],
        ["bench", "nonsense"],
    ],
    ids=" ".join,
)
def test_what_does_not_exist_is_one_error(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("lichen: error: ")
    assert len(shown.err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("line", "words", "field"),
    [
        (
            "doctor",
            r"^batch invariance +holds \(\d\d formats of weights .*; 1 and 2 threads\)$",
            "holds (",
        ),
        ("models list", r"qwen2\.5-coder-0\.5b", "qwen2.5-coder-0.5b"),
    ],
    ids=["doctor", "models list"],
)
def test_what_this_machine_has_is_told(
    line: str,
    words: str,
    field: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LICHEN_CACHE", str(tmp_path))
    assert run(line.split()) == 0
    assert re.search(words, capsys.readouterr().out, re.MULTILINE)
    assert run([*line.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = found["batch_invariance"] if line == "doctor" else str(found)
    assert field in told


def test_a_task_that_is_not_found_names_the_sets_that_could_not_be_searched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lichen import tasks

    def load(name: str, data: Path | None = None) -> tasks.TaskSet:
        if name == "humaneval":
            raise InputError("humaneval needs a package")
        return real(name, data)

    real = tasks.load
    monkeypatch.setattr(tasks, "load", load)
    assert run(["tasks", "show", "HumanEval/0"]) == 2
    assert "Not searched: humaneval, whose data is not here." in capsys.readouterr().err
