"""Reads a run folder: ``record.json`` and ``completions.jsonl``, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from lichen.errors import InputError
from lichen.verify.record import SCHEMA_VERSION, CompletionRecord, Record, Role

#: Identifies an answer: role, task set, task.
Key = tuple[Role, str, str]


@dataclass(frozen=True)
class Run:
    """A record with the unperturbed answers of both models."""

    record: Record
    answers: dict[Key, CompletionRecord]


def read_run(folder: Path) -> Run:
    """The run in this folder; InputError when it is not there or not readable."""
    record = _record(folder / "record.json")
    return Run(record, _answers(folder / "completions.jsonl"))


class _Version(msgspec.Struct):
    schema_version: int


def _record(path: Path) -> Record:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a report needs the folder of a run.") from None
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{path}: schema version {version}, this lichen reads {SCHEMA_VERSION}."
            )
        return msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: not a record of a run: {error}.") from None


def _answers(path: Path) -> dict[Key, CompletionRecord]:
    """Answers by key; without the file there are none, and a torn last line is passed over."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    decoder = msgspec.json.Decoder(CompletionRecord)
    answers: dict[Key, CompletionRecord] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            answer = decoder.decode(line)
        except msgspec.DecodeError as error:
            if number == len(lines):
                break
            raise InputError(f"{path}, line {number}: not a completion: {error}.") from None
        if answer.perturbation is None:
            answers[answer.role, answer.tasks, answer.task] = answer
    return answers
