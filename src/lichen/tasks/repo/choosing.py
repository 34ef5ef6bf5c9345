"""Which of the tests that call a function judge it: few, quick, and the most to the point."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from lichen.tasks.repo.coverage import PassingTest

MAX_TESTS = 40
# Of the sandbox's CPU time for one job, pytest's own start included.
_TEST_SECONDS = 0.5
_ALL_SECONDS = 1.0
_QUICK = 0.05  # shorter times count as nothing, so that a choice does not hang on their noise


def by_function(tests: Sequence[PassingTest]) -> dict[tuple[str, int], list[PassingTest]]:
    """(file, line) of a function -> the tests that call it."""
    found = defaultdict(list)
    for test in tests:
        for place in test.calls:
            found[place].append(test)
    return dict(found)


def choose(tests: Sequence[PassingTest]) -> list[str]:
    """The ids of at most `MAX_TESTS`, in the order in which they are run.

    First one case of each test function, those that call the least else before the others; then
    the second cases, and so on.
    """
    cases = Counter[str]()
    ranked = []
    for test in sorted(tests, key=lambda test: test.id):
        name = test.id.split("[")[0]
        ranked.append((cases[name], len(test.calls), test.id, test.seconds))
        cases[name] += 1
    chosen: list[str] = []
    total = 0.0
    for _, _, name, seconds in sorted(ranked):
        cost = seconds if seconds > _QUICK else 0.0
        if cost <= _TEST_SECONDS and total + cost <= _ALL_SECONDS and len(chosen) < MAX_TESTS:
            chosen.append(name)
            total += cost
    return chosen
