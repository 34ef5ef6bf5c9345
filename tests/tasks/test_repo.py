"""`repo:`: a small project of the user's, from its suite to verdicts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lichen import tasks
from lichen.errors import InputError
from lichen.perturb import function_name
from lichen.sandbox import Job, Result, Sandbox
from lichen.tasks import Task, TaskSet
from lichen.tasks.extraction import program
from lichen.tasks.prompting import Prompt, render
from lichen.tasks.repo import choosing, functions
from lichen.tasks.repo.coverage import Coverage, PassingTest

SHELF = Path(__file__).parents[1] / "projects" / "shelf"


@pytest.fixture(autouse=True, scope="module")
def _few_plugins() -> Iterator[None]:
    """Those of the suite that runs these tests take a second to load in every other one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that what is written into it would be seen."""
    return Path(shutil.copytree(SHELF, tmp_path_factory.mktemp("projects") / "shelf"))


@pytest.fixture(scope="module")
def shelf(project: Path) -> TaskSet:
    return tasks.load(f"repo:{project}")


@pytest.fixture(scope="module")
def sandbox(shelf: TaskSet) -> Iterator[Sandbox]:
    with Sandbox(readable=shelf.readable, readable_by_tests=shelf.readable_by_tests) as sandbox:
        yield sandbox


def find(shelf: TaskSet, name: str) -> Task:
    return next(task for task in shelf.tasks if task.id.endswith(f":{name}"))


def judge(sandbox: Sandbox, pairs: Sequence[tuple[Task, str]]) -> list[Result]:
    jobs = [Job(t.runnable(p), t.entry_point, t.test, t.preamble, t.split) for t, p in pairs]
    results = dict(sandbox.run(jobs))
    return [results[number] for number in range(len(jobs))]


def test_tasks_are_what_passing_tests_call(shelf: TaskSet) -> None:
    names = {task.id: task.split for task in shelf.tasks}
    assert names == {
        "repo/shelf.boxes:heaviest": False,  # takes a Box
        "repo/shelf.boxes:Box.weight": False,
        "repo/shelf.boxes:Box.put": False,
        "repo/shelf.text:slug": True,
        "repo/shelf.text:_words": True,
        "repo/shelf.text:initials": True,
        "repo/shelf.text:first": True,  # although its default is an object of its own
        "repo/shelf.text:pairs": True,
        "repo/shelf.text:depth": True,
        "repo/shelf.text:save": False,  # takes a Path
    }


def test_what_is_left_out_is_told(shelf: TaskSet) -> None:
    assert shelf.left_out == (("repo/shelf.text:guess", "its tests pass without it"),)
    for told in (
        "16 functions",
        "1 asynchronous",
        "1 trivial body",
        "1 called by no passing test",
        "2 special method",
        "1 of its tests fail already, first tests/check_text.py::test_that_fails",
    ):
        assert told in shelf.source


def test_the_project_stays_as_it_was(shelf: TaskSet, sandbox: Sandbox, project: Path) -> None:
    judge(sandbox, [(task, task.reference) for task in shelf.tasks])
    listed = {path.relative_to(project) for path in project.rglob("*")}
    assert listed == {path.relative_to(SHELF) for path in SHELF.rglob("*")}


def test_references_pass_and_are_forgeable_only_where_it_is_said(
    shelf: TaskSet, sandbox: Sandbox
) -> None:
    for task, result in zip(
        shelf.tasks, judge(sandbox, [(t, t.reference) for t in shelf.tasks]), strict=True
    ):
        assert (result.verdict, result.forgeable) == ("passed", not task.split), task.id


WRONG = {
    "slug": '    return "-".join(text.split()).lower()\n',
    "initials": '    return "".join(w[0] for w in _words(name))\n',
    "first": "    return next(iter(items), None)\n",
    "pairs": "    items = list(items)\n    return list(zip(items, items[2:]))\n",
    "depth": "    return 1 if isinstance(tree, list) else 0\n",
    "put": "    self.items.append((name, weight))\n    return self\n",
    "weight": "    return len(self.items)\n",
    "save": "    path.write_text(str(lines))\n",
    "heaviest": "    return box.items[0][0]\n",
}


def test_wrong_answers_fail(shelf: TaskSet, sandbox: Sandbox) -> None:
    asked = [task for task in shelf.tasks if task.entry_point in WRONG]
    results = judge(sandbox, [(task, task.prompt + WRONG[task.entry_point]) for task in asked])
    assert len(asked) == len(WRONG)
    assert [t.id for t, r in zip(asked, results, strict=True) if r.verdict == "passed"] == []


def test_the_prompt_shows_what_the_function_uses(shelf: TaskSet) -> None:
    assert find(shelf, "slug").prompt == (
        'SEPARATOR = "-"\n\n\ndef _words(text):\n    ...\n\n\ndef slug(text):\n'
        '    """Lower-case words joined by the separator: "Hello, World!" -> "hello-world"."""\n'
    )
    put = find(shelf, "Box.put").prompt
    assert "class FullError(Exception):" in put
    assert "        self.limit = limit\n" in put
    assert put.count("def put") == 1
    assert put.rstrip().endswith('"""Put an item in, or raise FullError; gives the box."""')


ANSWERS = {
    "a body": "    return SEPARATOR.join(_words(text.lower()))\n",
    "the whole function again": (
        "```python\ndef slug(text):\n    return SEPARATOR.join(_words(text.lower()))\n```\n"
    ),
    "helpers and imports of its own": (
        "    return '-'.join(lowered(text))\n\n\nfrom string import whitespace as blank\n\n"
        "def lowered(text):\n    import re\n    assert blank\n"
        "    return re.findall(r'\\w+', text.lower())\n"
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answers_are_put_into_the_module(answer: str, shelf: TaskSet, sandbox: Sandbox) -> None:
    task = find(shelf, "slug")
    prompt: Prompt = render(task, "completion")
    [result] = judge(sandbox, [(task, program(task, prompt, answer))])
    assert result.verdict == "passed", result.detail
    assert not result.forgeable


def test_a_renamed_function_is_judged_too(shelf: TaskSet, sandbox: Sandbox) -> None:
    task = function_name.rename(find(shelf, "depth"), "how_deep")  # it calls itself
    assert task is not None
    good, bad = judge(sandbox, [(task, task.reference), (task, task.prompt + "    return 1\n")])
    assert good.verdict == "passed", good.detail
    assert bad.verdict == "failed"


RIGHT = "    return SEPARATOR.join(_words(text.lower()))\n"
# Each gives the right answer when it finds what it looks for.
CHEATS = {
    "the original by its name": "    import shelf.text\n    return shelf.text.slug(text)\n",
    "the sources": (
        "    import os, sys\n"
        "    places = [p + f for p in sys.path for f in ('/shelf/text.py', '/src/shelf/text.py')]\n"
        f"    assert any(os.path.exists(place) for place in places)\n{RIGHT}"
    ),
    "the tests": (
        "    import os, sys\n"
        f"    assert any(os.path.exists(p + '/tests') for p in sys.path)\n{RIGHT}"
    ),
    "the original in memory": (
        "    import gc\n"
        "    wanted = ''.join(['word.lower() ', 'for word'])\n"
        "    held = [part for whole in gc.get_objects() for part in gc.get_referents(whole)]\n"
        "    texts = [part for part in held if isinstance(part, str) and part != wanted]\n"
        f"    assert any(wanted in text for text in texts)\n{RIGHT}"
    ),
    "the tests in memory": (
        "    import gc\n"
        "    wanted = ''.join(['check_text.py', '::'])\n"
        "    held = [part for whole in gc.get_objects() for part in gc.get_referents(whole)]\n"
        "    texts = [part for part in held if isinstance(part, str) and part != wanted]\n"
        f"    assert any(wanted in text for text in texts)\n{RIGHT}"
    ),
    "an early end": "    import os\n    os._exit(0)\n",
}


@pytest.mark.parametrize("answer", CHEATS.values(), ids=CHEATS)
def test_a_split_program_finds_neither_answer_nor_tests(
    answer: str, shelf: TaskSet, sandbox: Sandbox
) -> None:
    task = find(shelf, "slug")
    [result] = judge(sandbox, [(task, task.prompt + answer)])
    assert result.verdict in ("error", "crashed"), result
    assert not result.forgeable


def test_the_digest_moves_with_the_source(shelf: TaskSet, tmp_path: Path) -> None:
    other = Path(shutil.copytree(SHELF, tmp_path / "elsewhere" / "shelf"))
    changed = other / "src" / "shelf" / "text.py"
    changed.write_text(changed.read_text().replace("what a library card", "what a card"))
    found = tasks.load(f"repo:{other}")
    assert found.digest != shelf.digest
    pairs = [(old, new) for old, new in zip(shelf.tasks, found.tasks, strict=True) if old != new]
    assert {old.id for old, _ in pairs} == {task.id for task in shelf.tasks}  # by their hosts
    assert [old.id for old, new in pairs if old.reference != new.reference] == [
        "repo/shelf.text:initials"
    ]


def write(folder: Path, **files: str) -> Path:
    folder.chmod(0o755)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


FAULTS = {
    "no tests": ({"thing": "def f(x):\n    x = x + 1\n    return x\n"}, "finds no tests there"),
    "not importable": (
        {"test_thing": "import thing_that_is_nowhere\n"},
        r"finds no tests there \(test_thing.py: .*thing_that_is_nowhere",
    ),
    "all fail": (
        {"test_thing": "def test_f():\n    assert 0\n"},
        "none of its 1 tests passes, the first: test_thing.py::test_f",
    ),
    "nothing covered": (
        {
            "thing": "def f(x):\n    x = x + 1\n    return x\n",
            "test_thing": "import thing\n\ndef test_f():\n    assert thing\n",
        },
        r"call none of its functions that could be asked for \(left out: 1 called by no",
    ),
    "nothing checked": (
        {
            "thing": "def f(x):\n    x = x + 1\n    return x\n",
            "test_thing": "import thing\n\ndef test_f():\n    try:\n        thing.f(1)\n"
            "    except Exception:\n        pass\n",
        },
        "no task holds; the first, repo/thing:f: its tests pass without it",
    ),
    "does not start": (
        {"conftest": "raise RuntimeError('no luck')\n"},
        "test suite does not start: .*no luck",
    ),
}


@pytest.mark.parametrize(("files", "message"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_used_is_said(files: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as raised:
        tasks.load(f"repo:{write(tmp_path, **files)}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["nowhere", __file__])
def test_a_path_that_is_no_folder(path: str) -> None:
    with pytest.raises(InputError, match="give the folder of a Python project"):
        tasks.load(f"repo:{path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as somebody else")
def test_a_private_folder_under_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(InputError, match="cannot read this folder: chmod o\\+rx"):
        tasks.load(f"repo:{tmp_path}")


def test_few_tests_are_chosen_and_always_the_same() -> None:
    call = frozenset({("a.py", 1)})
    wide = frozenset({("a.py", line) for line in range(5)})
    many = [PassingTest(f"t.py::test_b[{n}]", 0.0, call) for n in range(100)]
    broad = PassingTest("t.py::test_a", 0.0, wide)
    slow = PassingTest("t.py::test_slow", 5.0, call)
    chosen = choosing.choose([*many, broad, slow])
    # one case of each first, and what calls the least else before the others
    assert chosen[:2] == ["t.py::test_b[0]", "t.py::test_a"]
    assert len(chosen) == choosing.MAX_TESTS
    assert slow.id not in chosen
    assert chosen == choosing.choose([slow, broad, *reversed(many)])


def test_functions_are_passed_over_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "from abc import abstractmethod\nfrom typing import overload\n"
        "def trivial(): pass\n"
        "def later():\n    '''Doc.'''\n    raise NotImplementedError\n"
        "def line(x): return x + 1\n"
        "def twice():\n    x = 1\n    return x + x\n"
        "def twice():\n    x = 1\n    return x * 2\n"
        "class C:\n"
        "    def __init__(self):\n        self.x = 1 + 1\n"
        "    def get(self):\n        return self.x\n"
        "    @abstractmethod\n    def a(self):\n        x = 1\n        return x * 2\n"
        "    def b(self):\n        x = 1\n        return x * 2\n"
    )
    coverage = Coverage((), {"m.py": "m"}, frozenset(), (), ())
    kept, passed_over = functions.find(functions.modules(tmp_path, coverage))
    assert [function.name for function in kept] == ["C.b"]
    assert passed_over == {
        "trivial body": 3,
        "written on one line": 1,
        "defined more than once": 2,
        "special method": 1,
        "overload or abstract": 1,
    }
