"""What a finished run asked and was answered, held against the tasks of today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from lichen.errors import InputError
from lichen.tasks import TaskSet
from lichen.verify.questions import Ask, Question
from lichen.verify.reader import COMPLETIONS, read_completions
from lichen.verify.record import CompletionRecord, Exclusion, Record, Role

#: Identifies an answer of one model: set, task, perturbation, its seed, sample.
Key = tuple[str, str, str | None, int | None, int]
Given = dict[tuple[Role, Key], CompletionRecord]


def answers_of(folder: Path, record: Record) -> Given:
    """Every answer of the run; InputError for a file that does not hold them all."""
    path = folder / COMPLETIONS
    given: Given = {}
    for number, line in enumerate(read_completions(folder), 1):
        place = line.role, _key(line)
        if place in given:
            raise InputError(f"{path}, line {number}: this answer is there already.")
        given[place] = line
    if record.completions is not None and len(given) != record.completions:
        raise InputError(
            f"{path} ends after line {len(given)}, and {record.completions} answers were recorded: "
            "the file is cut off."
        )
    for role, key in given:
        other: Role = "candidate" if role == "reference" else "reference"
        if (other, key) not in given:
            raise InputError(
                f"{path} ends after line {len(given)}: the {other}'s answer to {key[1]} is missing."
            )
    return given


@dataclass
class Asked:
    """Compares the questions of today with those of the run; `differing` gathers what differs."""

    record: Record
    given: Given
    samples: int
    unchanged: frozenset[str]
    differing: list[str] = field(default_factory=list)

    def unread(self, questions: Sequence[Question]) -> dict[Question, Exclusion]:
        """The questions that the run has no answers to, with the reasons."""
        found = ((question, self._reason(question)) for question in questions)
        return {q: Exclusion(task=q.task.id, reason=why) for q, why in found if why}

    def miss(self, there: set[tuple[str, str]]) -> None:
        """Note the tasks that were asked and are no longer there."""
        gone = dict.fromkeys(key[:2] for _, key in self.given if key[:2] not in there)
        self.differing += [f"{task} is no longer in {tasks}" for tasks, task in gone]

    def _reason(self, question: Question) -> str | None:
        samples = self.samples if question.perturbation is None else 1
        keys = [key_of(Ask(question, sample)) for sample in range(samples)]
        lines = [self.given.get(("reference", key)) for key in keys]
        line = lines[0]
        if line is None or None in lines:
            return self._earlier(question) or "the run has no answer to it"
        if not fits(question, line):
            self.differing.append(f"{_name(question)} has another prompt")
            return "its prompt is not the one that was answered"
        if line.task_sha256 and line.task_sha256 != question.sha256:
            self.differing.append(f"{_name(question)} has other tests")
        elif not line.task_sha256 and question.tasks not in self.unchanged:
            self.differing.append(
                f"{_name(question)} may have other tests (a record of schema 1 does not tell)"
            )
        return None

    def _earlier(self, question: Question) -> str | None:
        """Why the run itself left a question out."""
        if question.perturbation is None:
            parts = [c.excluded for c in self.record.correctness if c.tasks == question.tasks]
        else:
            tested = self.record.robustness.perturbations if self.record.robustness else []
            parts = [p.excluded for p in tested if p.name == question.perturbation]
        return next((e.reason for part in parts for e in part if e.task == question.task.id), None)


def unchanged(record: Record, sets: Sequence[TaskSet]) -> frozenset[str]:
    """The names of the sets that are, whole, those of the run."""
    digests = record.settings.get("tasks_sha256")
    kept = digests if isinstance(digests, list) else []
    return frozenset(part.name for part in sets if part.digest in kept)


def _name(question: Question) -> str:
    changed = f" ({question.perturbation})" if question.perturbation else ""
    return f"{question.task.id}{changed}"


def fits(question: Question, line: CompletionRecord) -> bool:
    """Whether an answer was one to this question's prompt, in whatever template it was put."""
    prompt = question.task.prompt.strip()
    quoted = msgspec.json.encode(prompt).decode()[1:-1]  # as in the messages for a server
    return prompt in line.prompt or quoted in line.prompt


def _key(line: CompletionRecord) -> Key:
    return line.tasks, line.task, line.perturbation, line.seed, line.sample


def key_of(ask: Ask) -> Key:
    """Where the answer to this is."""
    q = ask.question
    return q.tasks, q.task.id, q.perturbation, q.seed, ask.sample
