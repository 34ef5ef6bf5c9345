"""Perturbations keep their promises on every task of both sets."""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.running import passes

from lichen import tasks
from lichen.errors import InputError
from lichen.perturb import nominal, perturb, perturbations
from lichen.perturb.anatomy import docstring
from lichen.tasks import Task, source

SETS = {name: tasks.load(name).tasks for name in ("basics", "humaneval")}
EVERY = [task for members in SETS.values() for task in members]
NAMES = list(perturbations())
BASICS = {task.entry_point: task for task in SETS["basics"]}

any_task = st.sampled_from(EVERY)
any_seed = st.integers(0, 10)


def prose(task: Task) -> str:
    parts = docstring(task)
    assert parts is not None
    return task.prompt[parts.start : parts.end]


def code(text: str) -> str:
    """The program without docstrings, comments and layout."""
    tree = source.parse_open(text)
    assert tree is not None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def test_there_is_one_of_each_category() -> None:
    assert [(p.name, p.category, p.random) for p in perturbations().values()] == [
        ("butter_fingers", "docstring", True),
        ("camel_case", "function_name", False),
        ("rename_variable", "syntax", False),
        ("docstring_to_comments", "format", False),
    ]
    assert all(p.description for p in perturbations().values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tasks_name", SETS)
def test_every_perturbed_task_is_sound(tasks_name: str, name: str) -> None:
    seeds = range(3) if perturbations()[name].random else range(1)
    for task in SETS[tasks_name]:
        baseline = nominal(task, name)
        assert baseline is not None
        for changed in filter(None, (perturb(task, name, seed) for seed in seeds)):
            where = (task.id, changed.prompt)
            assert changed.id == task.id, where
            assert source.parse_open(changed.prompt) is not None, where
            assert changed.reference.startswith(changed.prompt), where
            assert passes(changed), where
            assert changed.prompt.split() != baseline.prompt.split(), where


@pytest.mark.parametrize(
    ("name", "basics", "humaneval"),
    [
        ("butter_fingers", 205, 160),
        ("camel_case", 180, 120),
        ("rename_variable", 205, 160),
        ("docstring_to_comments", 209, 163),
    ],
)
def test_most_tasks_are_reached(name: str, basics: int, humaneval: int) -> None:
    reached = {s: sum(perturb(t, name) is not None for t in ts) for s, ts in SETS.items()}
    assert reached["basics"] >= basics
    assert reached["humaneval"] >= humaneval


@given(task=any_task, name=st.sampled_from(NAMES), seed=any_seed)
@settings(max_examples=60)
def test_outcome_depends_on_task_name_and_seed_alone(task: Task, name: str, seed: int) -> None:
    first = perturb(task, name, seed)
    perturb(EVERY[0], name, seed + 1)
    assert perturb(task, name, seed) == first


def test_seeds_and_tasks_have_their_own_streams() -> None:
    prompts = [perturb(task, "butter_fingers", seed) for task in EVERY for seed in range(4)]
    different = {changed.prompt for changed in prompts if changed}
    assert len(different) > 0.95 * len(list(filter(None, prompts)))
    same = BASICS["clamp_to_byte"]
    other = replace(same, id="another")
    assert perturb(same, "butter_fingers") != perturb(other, "butter_fingers")


def test_streams_never_change_between_releases() -> None:
    changed = perturb(BASICS["box_volume"], "butter_fingers", 0)
    assert changed is not None
    assert prose(changed).splitlines()[0] == "Rwturn the volume of a box."


@given(task=any_task, seed=any_seed)
@settings(max_examples=150)
def test_butter_fingers_touches_letters_of_plain_words_only(task: Task, seed: int) -> None:
    changed = perturb(task, "butter_fingers", seed)
    if changed is None:
        return
    assert len(changed.prompt) == len(task.prompt)
    assert code(changed.prompt) == code(task.prompt)
    assert (changed.test, changed.entry_point) == (task.test, task.entry_point)
    names = set(re.findall(r"\w+", code(task.reference))) - set(keyword.kwlist)
    for old, new in zip(task.prompt.split(), changed.prompt.split(), strict=True):
        if old != new:
            word = old.strip("\"'(),.;:!?")
            assert re.fullmatch(r"[A-Za-z][a-z]{2,}", word), old
            assert word not in names
    for line in re.findall(r">>>.*\n.*", task.prompt):
        assert line in changed.prompt


def test_butter_fingers_leaves_meaningful_words_alone() -> None:
    prompt = (
        "def pick(names: list[str], limit: int) -> str:\n"
        '    """Return names up to limit as list, `quoted words here`, "or like\n'
        "    this here\" and 'those there', True or False or None, str, x2, snake_case, HTTP,\n"
        "    result = words, f(words), answer alpha.\n"
        "    Example: all that follows remains\n"
        "    whatever comes\n"
        '    """\n'
    )
    body = "    return 'alpha'\n"
    task = Task("t", prompt, "pick", prompt + body, "assert pick([], 1) == 'alpha'\n")
    for seed in range(40):
        changed = perturb(task, "butter_fingers", seed)
        assert changed is not None
        old, new = prompt.split(), changed.prompt.split()
        touched = {a for a, b in zip(old, new, strict=True) if a != b}
        assert touched <= {'"""Return', "and"}


@pytest.mark.parametrize(
    ("entry_point", "expected"),
    [
        ("count_odd_between", "countOddBetween"),
        ("is_multiple", "isMultiple"),
        ("grade", None),
    ],
)
def test_camel_case_of_snake_case(entry_point: str, expected: str | None) -> None:
    changed = perturb(BASICS[entry_point], "camel_case")
    assert (changed and changed.entry_point) == expected


def test_camel_case_renames_everywhere() -> None:
    task = BASICS["count_odd_between"]
    changed = perturb(task, "camel_case")
    assert changed is not None
    for before, after in [
        (task.prompt, changed.prompt),
        (task.reference, changed.reference),
        (task.test, changed.test),
    ]:
        assert after == before.replace("count_odd_between", "countOddBetween")


def test_camel_case_becomes_snake_case() -> None:
    prompt = 'def getHtmlTitle(x):\n    """getHtmlTitle(1)"""\n'
    task = Task("t", prompt, "getHtmlTitle", prompt + "    return x\n", "assert getHtmlTitle(1)\n")
    changed = perturb(task, "camel_case")
    assert changed is not None
    assert changed.prompt == 'def get_html_title(x):\n    """get_html_title(1)"""\n'
    assert changed.test == "assert get_html_title(1)\n"


def test_camel_case_never_takes_a_name_that_is_there() -> None:
    prompt = 'def do_it(x):\n    """Do."""\n'
    task = Task(
        "t", prompt, "do_it", prompt + "    doIt = x\n    return doIt\n", "assert do_it(1)\n"
    )
    assert perturb(task, "camel_case") is None


def test_nominal_of_syntax_shows_half_of_the_body() -> None:
    baseline = nominal(BASICS["steps_to_one"], "rename_variable")
    assert baseline is not None
    assert baseline.prompt.endswith("    steps = 0\n    while number != 1:\n")
    assert baseline.reference == BASICS["steps_to_one"].reference
    for name in NAMES:
        if perturbations()[name].category != "syntax":
            assert nominal(BASICS["steps_to_one"], name) == BASICS["steps_to_one"]


def test_nominal_of_syntax_is_none_without_a_body_to_take() -> None:
    task = replace(BASICS["steps_to_one"], reference="steps_to_one = ...\n")
    assert nominal(task, "rename_variable") is None
    assert perturb(task, "rename_variable") is None


def test_rename_variable_renames_in_code_and_clear_mentions() -> None:
    prompt = (
        "def f(n: int, word: str) -> int:\n"
        '    """Add n to the word count; `n` is an n-th part, not n.x.\n\n'
        "    >>> f(1, 'n')\n"
        '    """\n'
    )
    body = "    total = n + n\n    total += n  # n\n    return len(word.n) if n else total\n"
    task = Task("t", prompt, "f", prompt + body, "assert f\n")
    changed = perturb(task, "rename_variable")
    assert changed is not None
    assert changed.prompt == (
        "def f(VAR_0: int, word: str) -> int:\n"
        '    """Add VAR_0 to the word count; `VAR_0` is an n-th part, not n.x.\n\n'
        "    >>> f(1, 'n')\n"
        '    """\n'
        "    total = VAR_0 + VAR_0\n"
    )
    assert changed.reference.endswith(
        "    total += VAR_0  # n\n    return len(word.n) if VAR_0 else total\n"
    )


@pytest.mark.parametrize(
    "body",
    [
        "    return f'{x}' + str(y)\n",
        "    return dict(x=x)[y]\n",
    ],
    ids=["f-string", "keyword"],
)
def test_rename_variable_passes_over_names_it_cannot_change(body: str) -> None:
    prompt = 'def g(x, y):\n    """Do."""\n'
    changed = perturb(Task("t", prompt, "g", prompt + body, "assert g\n"), "rename_variable")
    assert changed is not None
    assert changed.prompt.startswith("def g(x, VAR_0):")


def test_rename_variable_keeps_parameters_that_tests_name() -> None:
    prompt = 'def g(x):\n    """Do."""\n'
    task = Task("t", prompt, "g", prompt + "    return x\n", "assert g(x=1)\n")
    assert perturb(task, "rename_variable") is None


def test_comments_hold_what_the_docstring_says() -> None:
    changed = perturb(BASICS["count_lines"], "docstring_to_comments")
    assert changed is not None
    assert changed.prompt == (
        "def count_lines(text: str) -> int:\n"
        "    # Return how many lines of the text are not blank.\n"
        "    #\n"
        '    # >>> count_lines("one\\\\n\\\\ntwo")\n'
        "    # 2\n"
    )


@given(task=any_task)
@settings(max_examples=100)
def test_comments_keep_every_word_and_all_code(task: Task) -> None:
    changed = perturb(task, "docstring_to_comments")
    if changed is not None:
        assert code(changed.reference) == code(task.reference)
        for word in prose(task).split():
            assert word in changed.prompt


def test_task_without_docstring_is_left_alone() -> None:
    prompt = "def do_it(x):\n"
    task = Task("t", prompt, "do_it", prompt + "    return x\n", "assert do_it(1)\n")
    assert perturb(task, "butter_fingers") is None
    assert perturb(task, "docstring_to_comments") is None


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="butter_fingers, camel_case"):
        perturb(EVERY[0], "synonyms")
