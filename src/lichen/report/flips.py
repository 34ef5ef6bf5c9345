"""The tasks whose verdict changed, with both programs aligned line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from lichen.report.run import Run
from lichen.verify.record import CompletionRecord, Correctness


@dataclass(frozen=True)
class Line:
    """One line of a program; ``changed`` where the other program differs."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Side:
    """One model's answer to a task, and how many of its samples passed."""

    verdict: str
    detail: str
    lines: tuple[Line, ...]
    cut_off: bool
    forgeable: bool
    passed: int
    samples: int

    @property
    def program(self) -> str:
        """The program that was judged."""
        return "".join(f"{line.text}\n" for line in self.lines)


@dataclass(frozen=True)
class Flip:
    """A task that one model solves and the other does not, or less often."""

    tasks: str
    task: str
    lost: bool
    prompt: str
    reference: Side | None
    candidate: Side | None

    @property
    def kind(self) -> str:
        """In a word or two: lost or gained; less often or more often, of several samples."""
        side = self.reference or self.candidate
        if side is not None and side.samples > 1:
            return "less often" if self.lost else "more often"
        return "lost" if self.lost else "gained"


def find_flips(run: Run) -> list[Flip]:
    """All flips, set by set, losses first."""
    return [flip for found in run.record.correctness for flip in _of(run, found)]


def _of(run: Run, found: Correctness) -> Iterator[Flip]:
    for lost, ids in ((True, found.lost), (False, found.gained)):
        for task in ids:
            all_before = run.answers.get(("reference", found.tasks, task), ())
            all_after = run.answers.get(("candidate", found.tasks, task), ())
            before, after = _telling(all_before, lost), _telling(all_after, not lost)
            left, right = _marked(before, after)
            present = before or after
            yield Flip(
                found.tasks,
                task,
                lost,
                present.prompt if present else "",
                _side(before, left, all_before),
                _side(after, right, all_after),
            )


def _telling(answers: Sequence[CompletionRecord], passes: bool) -> CompletionRecord | None:
    """Of several samples the first that shows the flip: one that passes, or one that does not."""
    telling = (answer for answer in answers if (answer.verdict == "passed") == passes)
    return next(telling, answers[0] if answers else None)


def _side(
    answer: CompletionRecord | None, lines: tuple[Line, ...], all_of: Sequence[CompletionRecord]
) -> Side | None:
    if answer is None:
        return None
    return Side(
        answer.verdict,
        answer.detail,
        lines,
        answer.finish_reason == "length",
        answer.forgeable,
        sum(each.verdict == "passed" for each in all_of),
        len(all_of),
    )


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
