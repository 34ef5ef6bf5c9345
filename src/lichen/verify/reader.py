"""Reads what runs left behind, of this version and of those before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lichen.errors import InputError
from lichen.verify.record import SCHEMA_VERSION, CompletionRecord, Record

RECORD = "record.json"
COMPLETIONS = "completions.jsonl"


class _Version(msgspec.Struct):
    schema_version: int


def read_record(folder: Path) -> Record:
    """The record of a run, in the words of today; InputError where there is none to read."""
    path = folder / RECORD
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the folder of a finished run.") from None
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if not 1 <= version <= SCHEMA_VERSION:
            raise InputError(
                f"{path}: schema version {version}, this lichen reads 1 to {SCHEMA_VERSION}; "
                "use the lichen that wrote it, or a newer one."
            )
        if version == SCHEMA_VERSION:
            return msgspec.json.decode(data, type=Record)
        return msgspec.convert(_from_1(msgspec.json.decode(data)), Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a record of a run: {error}.") from None


def read_completions(folder: Path, *, torn: bool = False) -> Iterator[CompletionRecord]:
    """The answers of a run, in their order; InputError names the line that is none.

    `torn` passes over a last line that was not written to its end.
    """
    path = folder / COMPLETIONS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the answers of this run are gone.") from None
    decoder = msgspec.json.Decoder(CompletionRecord)
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number}: not a completion: {error}.") from None
            if not torn:
                raise InputError(
                    f"{path}, line {number}: the file is cut off in the middle of this line."
                ) from None


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 1: greedy answers only, settings of several values as one text."""
    try:
        settings = dict(record["settings"])
        several = ("tasks", "tasks_sha256", "perturbations", "seeds")
        settings |= {name: str(settings[name]).split() for name in several if name in settings}
        settings["seeds"] = [int(seed) for seed in settings.get("seeds", [])]
        settings |= {"samples": 1, "temperature": 0.0, "top_p": 1.0, "sampling_seed": 0}
        for name in ("sampling", "samples_per_task"):
            settings.pop(name, None)
        correctness = [
            {
                **axis,
                "p_value": axis["mcnemar_p"],
                "outcomes": [
                    {**o, "reference": [o["reference"]], "candidate": [o["candidate"]]}
                    for o in axis["outcomes"]
                ],
            }
            for axis in record["correctness"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise msgspec.ValidationError(f"{type(error).__name__} {error}") from None
    return {**record, "settings": settings, "correctness": correctness, "schema_version": 2}
