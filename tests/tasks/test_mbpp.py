"""MBPP: its two files, the prompts made of them, and where they come from."""

from __future__ import annotations

import ast
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from tests.tasks.running import passes

from lichen import tasks
from lichen.errors import InputError, ResourceError
from lichen.perturb import perturb, perturbations
from lichen.sandbox import Job, Sandbox
from lichen.tasks import Task, hub_copy, mbpp, recode

ROW: dict[str, Any] = {
    "task_id": 7,
    "text": "Write a function to double a number.",
    "code": "def double(x):\r\n\treturn 2 * x",
    "test_setup_code": "",
    "test_list": ["assert double(1) == 2", "assert double(2)==4\r"],
    "challenge_test_list": [],
}


def folder(path: Path, *rows: dict[str, Any]) -> Path:
    """A folder with both files, which hold the same tasks."""
    (path / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    renamed = [{"prompt" if k == "text" else k: v for k, v in row.items()} for row in rows]
    (path / "sanitized-mbpp.json").write_text(json.dumps(renamed, indent=1))
    return path


def task_of(code: str, *tests: str, text: str = "Do it.") -> Task:
    return recode.task_of("MBPP/1", text, code, list(tests), "here")


@pytest.mark.parametrize("name", ["mbpp", "mbpp-sanitized"])
def test_a_row_of_either_file_is_a_task_with_a_prompt(tmp_path: Path, name: str) -> None:
    found = tasks.load(name, folder(tmp_path, ROW))
    [task] = found.tasks
    assert found.name == name
    assert task.id == "MBPP/7"
    assert task.prompt == (
        "def double(x):\n"
        '    """\n'
        "    Write a function to double a number.\n"
        "    >>> double(1)\n"
        "    2\n"
        "    >>> double(2)\n"
        "    4\n"
        '    """\n'
    )
    assert task.reference == task.prompt + "    return 2 * x\n"
    assert task.test == "assert double(1) == 2\nassert double(2)==4\n"
    assert task.difficulty is None
    assert passes(task)
    assert not passes(task, "def double(x):\n    return 2\n")


@pytest.mark.parametrize(
    ("code", "test", "prompt", "body"),
    [
        ("import math\ndef f(x): return math.floor(x)", "f(1.5) == 1", "def f(x):", "import math"),
        ("N = 3\ndef f(x):\n  return N", "f(1) == 3", "def f(x):", "N = 3"),
        ("def g(x):\n\treturn x\ndef f(x):\n\treturn g(x)", "f(1) == 1", "def f(x):", "def g("),
        ("def f(x):\n return g(x)\ndef g(x):\n return x", "f(1) == 1", "def f(x):", "def g("),
        ("N = 3\ndef f(x=N):\n  return x", "f() == 3", "N = 3\n\ndef f(x=N):", "return x"),
        ("x = 3\ndef f(x):\n  return x", "f(1) == 1", "def f(x):", "return x"),
        ("def f(x):\n  'Old.'\n  return x", "f(1) == 1", "def f(x):", "return x"),
        ("def check(n):\n  return n > 0", "check(1) == True", "def check(n):", "return n > 0"),
        ("def f(kinds):\n  return str in kinds", "f([str]) == True", "def f(kinds):", "return str"),
    ],
    ids=[
        *("import", "constant", "helper", "helper-behind", "default", "leftover", "docstring"),
        *("named-check", "types"),
    ],
)
def test_prompt_gives_away_only_what_it_has_to(
    code: str, test: str, prompt: str, body: str
) -> None:
    task = task_of(code, f"assert {test}")
    assert task.prompt.startswith(prompt + '\n    """\n    Do it.\n    >>> ')
    assert task.reference.removeprefix(task.prompt).strip().startswith(body)
    assert passes(task)


def test_tests_get_their_imports_and_classes_from_the_trusted_side() -> None:
    task = task_of(
        "import sys\nclass Pair:\n  def __init__(self, a):\n    self.a = a\n"
        "def f(p):\n  return sys.getsizeof(p.a)",
        "assert f(Pair(1)) == sys.getsizeof(1)",
    )
    assert task.preamble.startswith("import sys\n\nclass Pair:")
    assert task.prompt.startswith(task.preamble + "def f(p):")
    assert ">>> f(Pair(1)) == sys.getsizeof(1)\n    True\n" in task.prompt
    assert passes(task)


def test_an_answer_may_use_what_the_tests_import() -> None:
    code = "import math\ndef f(x):\n  return 2 * math.asin(1) * x"
    task = task_of(code, "import math", "assert math.isclose(f(2), math.pi * 2)")
    assert task.prompt.startswith("import math\n\ndef f(x):")
    assert task.prompt.count("import math") == 1
    assert passes(replace(task, reference=task.prompt + "    return math.pi * x\n"))


@pytest.mark.parametrize(
    ("condition", "example"),
    [
        ("f( (1,2),'a' )==[1 , 2]", ">>> f((1, 2), 'a')\n    [1, 2]"),
        ("set(f(1)) == set([2])", ">>> set(f(1)) == set([2])\n    True"),
        ("not f(1)", ">>> not f(1)\n    True"),
        ("f(1) == None", ">>> f(1) == None\n    True"),
        ("f('a\\nb') == 'c\\\\d'", ">>> f('a\\nb')\n    'c\\\\d'"),
    ],
)
def test_examples_are_those_of_doctest(condition: str, example: str) -> None:
    assert f"    {example}\n" in task_of("def f(x): pass", f"assert {condition}").prompt


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
def test_any_sentence_survives_in_the_docstring(text: str) -> None:
    task = task_of("def f(x):\n  return x", "assert f(1) == 1", text=text)
    function = ast.parse(task.prompt).body[0]
    assert isinstance(function, ast.FunctionDef)
    docstring = ast.get_docstring(function, clean=False)
    assert docstring is not None
    assert docstring.strip().removesuffix(">>> f(1)\n    1").strip() == text.strip()


@pytest.mark.parametrize("text", ['Say """hi""".', r"Split at \n.", r'"""\"""', "Ends in \\", '"'])
def test_quotes_and_backslashes_survive(text: str) -> None:
    task = task_of("def f(x):\n  return x", "assert f(1) == 1", text=text)
    assert text in (ast.get_docstring(ast.parse(task.prompt).body[0]) or "")  # type: ignore[arg-type]
    assert passes(task)


def test_every_perturbation_applies_and_leaves_the_task_sound() -> None:
    task = task_of(
        "import re\ndef find_words(text_line):\n    found = re.findall('\\\\w+', text_line)\n"
        "    return sorted(found)",
        "assert find_words('b a') == ['a', 'b']",
        text="Write a function to find all words in a line and sort them.",
    )
    applied = {name: perturb(task, name) for name in perturbations()}
    assert [name for name, found in applied.items() if found is None] == []
    assert [name for name, found in applied.items() if found and not passes(found)] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_id": "7"}, r"mbpp.jsonl:2 .*Expected `int`"),
        ({"code": None}, "Expected `str`"),
        ({"code": "def f(:"}, "its code is not Python"),
        ({"code": "x = 1"}, "call no function that its code defines"),
        ({"test_list": []}, "has no tests"),
        ({"test_list": "assert"}, "Expected `array`"),
        ({"test_list": ["assert ("]}, "its test is not Python"),
    ],
)
def test_broken_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        tasks.load("mbpp", folder(tmp_path, ROW, ROW | {"task_id": 8} | change))
    assert "mbpp.jsonl:2" in str(refusal.value)
    with pytest.raises(InputError, match="task number 2"):
        tasks.load("mbpp-sanitized", tmp_path)


def test_all_broken_rows_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        tasks.load("mbpp", folder(tmp_path, *[ROW | {"test_list": []}] * 7))
    assert "mbpp.jsonl:1: it has no tests; " in str(refusal.value)
    assert str(refusal.value).endswith("(and 2 more)")


@pytest.mark.parametrize("text", ["{}", "[1]", "[", ""])
def test_a_file_that_is_no_array_of_tasks(tmp_path: Path, text: str) -> None:
    (tmp_path / "sanitized-mbpp.json").write_text(text)
    with pytest.raises(InputError, match=r"sanitized-mbpp.json"):
        tasks.load("mbpp-sanitized", tmp_path)


def test_missing_data_says_how_to_get_it(tmp_path: Path, hub: str) -> None:
    for data in (tmp_path, None):
        with pytest.raises(InputError, match=r"lichen tasks fetch mbpp, or --data DIR .*https://"):
            tasks.load("mbpp", data)
    assert {info.name for info in tasks.available() if info.missing} == set(mbpp.FILES)
    assert not any(info.missing for info in tasks.available(folder(tmp_path, ROW)))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A played hub with MBPP's full file, and an empty cache."""
    content = json.dumps(ROW).encode() + b"\n"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {
                f"/api/datasets/{hub_copy.HUB_ID}": b'{"id": "x", "sha": "0", "siblings": []}',
                f"/datasets/{hub_copy.HUB_ID}/resolve/main/data/mbpp.jsonl": content,
            }
            data = known.get(self.path.partition("?")[0])
            self.send_response(404 if data is None else 200)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else data or b"")

        do_HEAD = do_GET  # noqa: N815 (the name that the server calls)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.daemon = True
    thread.start()
    use(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "hub-cache")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_fetched_data_is_found_again_without_a_network(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub_copy.fetch("mbpp.jsonl")
    assert path.is_relative_to(tmp_path / "hub-cache")
    assert not hub_copy.is_as_published(path)
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub-cache")
    assert [task.id for task in tasks.load("mbpp").tasks] == ["MBPP/7"]
    assert hub_copy.fetch("mbpp.jsonl") == path


def test_what_cannot_be_fetched_is_one_error(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ResourceError, match=r"sanitized-mbpp\.json could not be fetched"):
        hub_copy.fetch("sanitized-mbpp.json")
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub-cache")
    with pytest.raises(ResourceError, match=r"could not be fetched .*--data DIR"):
        hub_copy.fetch("mbpp.jsonl")


DATA = os.environ.get("LICHEN_MBPP")
FORGEABLE = {"MBPP/367", "MBPP/601", "MBPP/927"}  # their tests hand over objects of a class


@pytest.mark.skipif(DATA is None, reason="LICHEN_MBPP names no folder with MBPP's files")
@pytest.mark.parametrize(
    ("name", "count", "forgeable"), [("mbpp", 974, FORGEABLE), ("mbpp-sanitized", 427, set())]
)
def test_references_pass_in_the_sandbox(name: str, count: int, forgeable: set[str]) -> None:
    found = tasks.load(name, Path(DATA or "")).tasks
    jobs = [Job(t.reference, t.entry_point, t.test, t.preamble) for t in found]
    with Sandbox() as sandbox:
        results = {found[place].id: result for place, result in sandbox.run(jobs)}
    failing = {task_id for task_id, result in results.items() if result.verdict != "passed"}
    assert len(found) == count
    assert len(failing) <= (0 if name == "mbpp" else 3)
    assert {task_id for task_id, result in results.items() if result.forgeable} == forgeable
