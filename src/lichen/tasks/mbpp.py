"""MBPP (Austin et al., arXiv 2108.07732): 974 tasks, and the 427 of them that were checked by hand.

The data is read as google-research publishes it: a sentence, a reference solution and three
asserts; `lichen.tasks.recode` makes a prompt of them.  The ``challenge_test_list`` that few tasks
have decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lichen.errors import InputError
from lichen.tasks import hub_copy
from lichen.tasks.jsonl import Row, make_all, read_text, rows
from lichen.tasks.recode import task_of
from lichen.tasks.task import Task, TaskSet

FULL = "mbpp.jsonl"
FILES = {"mbpp": FULL, "mbpp-sanitized": "sanitized-mbpp.json"}
DESCRIPTIONS = {
    "mbpp": "MBPP, 974 tasks",
    "mbpp-sanitized": "MBPP, the 427 tasks that were verified by hand",
}


def load(name: str, data: Path | None = None) -> TaskSet:
    """The set ``mbpp`` or ``mbpp-sanitized``, from the folder ``data`` or as it was fetched."""
    path = find(name, data)
    found = rows(path) if path.name == FULL else _array(path)
    return TaskSet(name=name, tasks=make_all(_task, found), source=f"{name} ({path})")


def find(name: str, data: Path | None = None) -> Path:
    """The file that holds a set; `InputError` says where to get it."""
    file = FILES[name]
    if data is None:
        path = hub_copy.cached(file)
    else:
        path = data / file if (data / file).is_file() else None
    if path is None:
        missing = f"{file} is not in {data}" if data else f"it needs {file}"
        raise InputError(
            f"no data for the task set {name}: {missing}; lichen tasks fetch {name}, or --data DIR "
            f"with the file from {hub_copy.ORIGIN}"
        )
    return path


def _array(path: Path) -> Iterator[tuple[Row, str]]:
    """The objects of a JSON array, each with the words for where it is."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not JSON ({error})") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InputError(f"{path}: has to be a JSON array of tasks, each an object")
    yield from ((row, f"{path}, task number {n}") for n, row in enumerate(found, start=1))


class _Row(msgspec.Struct, frozen=True):
    """The fields of either file that are used; they call the sentence text or prompt."""

    task_id: int
    code: str
    test_list: list[str]
    text: str = ""
    prompt: str = ""
    test_imports: list[str] = []
    test_setup_code: str = ""


def _task(row: Row, where: str) -> Task:
    try:
        found = msgspec.convert(row, _Row)
    except msgspec.ValidationError as error:
        raise InputError(f"{where} is no task of MBPP: {error}") from None
    tests = [*found.test_imports, _plain(found.test_setup_code), *map(_plain, found.test_list)]
    if not found.test_list:
        raise InputError(f"{where}: it has no tests")
    text, code = _plain(found.text or found.prompt), _plain(found.code)
    return task_of(f"MBPP/{found.task_id}", text, code, list(filter(None, tests)), where)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()
