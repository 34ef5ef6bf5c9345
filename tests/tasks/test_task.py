"""Task sets: what they refuse, and how subsets are drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lichen import tasks
from lichen.errors import InputError
from lichen.tasks import Task, TaskSet

TASK = Task(
    id="t/f",
    prompt='def f() -> int:\n    """One."""\n',
    entry_point="f",
    reference='def f() -> int:\n    """One."""\n    return 1\n',
    test="assert f() == 1\n",
)
BASICS = tasks.load("basics")


def make(*members: Task) -> TaskSet:
    return TaskSet(name="set", tasks=members, source="here.jsonl")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "no tasks"),
        ((TASK, TASK), "'t/f' is there 2 times"),
        ((replace(TASK, test=" \n"),), "'t/f': it has no tests"),
        ((replace(TASK, reference=""),), "no reference solution"),
        ((replace(TASK, entry_point="g"),), "does not define the entry point 'g'"),
        ((replace(TASK, entry_point="fu"),), "does not define the entry point 'fu'"),
    ],
    ids=["empty", "duplicate", "no-tests", "no-reference", "other-name", "part-of-name"],
)
def test_unusable_set_is_refused_in_words(members: tuple[Task, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        make(*members)
    assert str(refusal.value).startswith("here.jsonl: ")


def test_all_faults_are_named_at_once_but_not_a_flood_of_them() -> None:
    broken = [replace(TASK, id=f"t/{i}", test="", entry_point="g") for i in range(10)]
    with pytest.raises(InputError) as refusal:
        make(*broken)
    assert "'t/0': it has no tests; 't/0': its prompt does not define" in str(refusal.value)
    assert str(refusal.value).endswith("(and 15 more)")


@given(n=st.integers(1, len(BASICS.tasks)), seed=st.integers(0, 5))
def test_subset_is_stratified_ordered_and_nested(n: int, seed: int) -> None:
    subset = BASICS.subset(n, seed)
    ids = [task.id for task in subset.tasks]
    assert len(ids) == n
    assert ids == [task.id for task in BASICS.tasks if task.id in set(ids)]
    whole, part = (Counter(t.difficulty for t in some.tasks) for some in (BASICS, subset))
    for level, count in whole.items():
        assert abs(part[level] - n * count / len(BASICS.tasks)) < 1.5
    if n > 1:
        assert {task.id for task in BASICS.subset(n - 1, seed).tasks} < set(ids)


def test_subset_depends_on_the_seed_alone() -> None:
    assert BASICS.subset(20).tasks == BASICS.subset(20, 0).tasks
    assert BASICS.subset(20).tasks != BASICS.subset(20, 1).tasks


@pytest.mark.parametrize("n", [0, -1, len(BASICS.tasks) + 1])
def test_subset_of_an_impossible_size_is_refused(n: int) -> None:
    with pytest.raises(InputError, match=f"from 1 to {len(BASICS.tasks)}"):
        BASICS.subset(n)


def test_digest_tells_sets_apart() -> None:
    assert make(TASK).digest == replace(make(TASK), name="other").digest
    assert make(TASK).digest != make(replace(TASK, test="assert f() == 1")).digest
    assert len(make(TASK).digest) == 64
