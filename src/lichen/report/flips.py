"""The tasks whose verdict changed, with both programs aligned line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from lichen.report.run import Run
from lichen.verify.record import CompletionRecord, Correctness

#: More than these are listed by name only: nobody reads two hundred pairs of programs.
SHOWN = 30


@dataclass(frozen=True)
class Line:
    """One line of a program; ``changed`` where the other program differs."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Side:
    """One model's answer to a task."""

    verdict: str
    detail: str
    lines: tuple[Line, ...]
    cut_off: bool


@dataclass(frozen=True)
class Flip:
    """A task that one model solves and the other does not."""

    tasks: str
    task: str
    lost: bool
    prompt: str
    reference: Side | None
    candidate: Side | None


def flips(run: Run) -> list[Flip]:
    """All flips, losses first."""
    found = [flip for c in run.record.correctness for flip in _of(run, c)]
    return sorted(found, key=lambda flip: not flip.lost)


def _of(run: Run, found: Correctness) -> Iterator[Flip]:
    for lost, ids in ((True, found.lost), (False, found.gained)):
        for task in ids:
            before = run.answers.get(("reference", found.tasks, task))
            after = run.answers.get(("candidate", found.tasks, task))
            left, right = _marked(before, after)
            present = before or after
            yield Flip(
                found.tasks,
                task,
                lost,
                present.prompt if present else "",
                _side(before, left),
                _side(after, right),
            )


def _side(answer: CompletionRecord | None, lines: tuple[Line, ...]) -> Side | None:
    if answer is None:
        return None
    return Side(answer.verdict, answer.detail, lines, answer.finish_reason == "length")


def _marked(
    before: CompletionRecord | None, after: CompletionRecord | None
) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    left = before.program.splitlines() if before else []
    right = after.program.splitlines() if after else []
    same_left, same_right = set[int](), set[int]()
    for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        same_left.update(range(block.a, block.a + block.size))
        same_right.update(range(block.b, block.b + block.size))
    return (
        tuple(Line(text, i not in same_left) for i, text in enumerate(left)),
        tuple(Line(text, i not in same_right) for i, text in enumerate(right)),
    )
