"""``lichen tasks`` with the real sandbox."""

from __future__ import annotations

import json
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


def test_samples_are_scored_by_the_unbiased_estimator(
    tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"task_id": f"t/add_{task}", "completion": f"    return value + {task + sample}\n"}
        for task in range(4)
        for sample in range(2)
    ]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["tasks", "score", str(file), "--tasks", tasks]
    assert run([*line, "-k", "1", "-k", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "all": {"tasks": 4, "pass@1": 0.5, "pass@2": 1.0}
    }
    assert run(line) == 0
    assert capsys.readouterr().out == "all: pass@1 50.0% of 4 tasks\n"
    assert run([*line, "-k", "3"]) == 2
    assert "needs as many samples" in capsys.readouterr().err


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


@pytest.mark.parametrize("line", [["doctor"], ["models", "list"]], ids=" ".join)
def test_what_this_machine_has_is_told(
    line: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LICHEN_CACHE", str(tmp_path))
    assert run(line) == 0
    assert "qwen2.5-coder-0.5b" in capsys.readouterr().out or line == ["doctor"]
    assert run([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_task_that_is_not_found_names_the_sets_that_could_not_be_searched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lichen import tasks

    def load(name: str) -> tasks.TaskSet:
        if name == "humaneval":
            raise InputError("humaneval needs a package")
        return real(name)

    real = tasks.load
    monkeypatch.setattr(tasks, "load", load)
    assert run(["tasks", "show", "HumanEval/0"]) == 2
    assert "Not searched: humaneval needs a package." in capsys.readouterr().err
