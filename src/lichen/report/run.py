"""Reads a run folder: ``record.json`` and ``completions.jsonl``, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lichen.verify.reader import COMPLETIONS, read_completions, read_record
from lichen.verify.record import CompletionRecord, Record, Role

#: Whose answers to what: role, task set, task.
Key = tuple[Role, str, str]


@dataclass(frozen=True)
class Run:
    """A record with the unperturbed answers of both models, all samples in their order."""

    record: Record
    answers: Mapping[Key, Sequence[CompletionRecord]]


def read_run(folder: Path) -> Run:
    """The run in this folder; InputError when it is not there or not readable."""
    return Run(read_record(folder), _answers(folder))


def _answers(folder: Path) -> Mapping[Key, Sequence[CompletionRecord]]:
    """Answers by key; without the file there are none, and a torn last line is passed over."""
    answers: defaultdict[Key, list[CompletionRecord]] = defaultdict(list)
    if (folder / COMPLETIONS).exists():
        for answer in read_completions(folder, torn=True):
            if answer.perturbation is None:
                answers[answer.role, answer.tasks, answer.task].append(answer)
    return answers
