"""Completions that are already there: an append-only file that survives a SIGKILL at any byte."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from lichen.completion import Completion, FinishReason, Request


class Line(msgspec.Struct, frozen=True):
    """One line of the file: the key of a request to a model, and its answer."""

    key: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    tokens: int


def key_of(model: str, request: Request) -> str:
    """Identify what `model` (a digest, with whatever else changes its answers) was asked."""
    prompt = hashlib.sha256(request.prompt.encode()).hexdigest()
    sampling = [request.max_tokens, request.temperature, request.top_p, request.seed, request.stop]
    return hashlib.sha256(msgspec.json.encode([model, prompt, sampling])).hexdigest()


class CompletionCache:
    """Answers by key, read from `path` on opening and appended to it one flushed line at a time.

    A line that does not parse (torn by a kill or a full disk) is not an answer; it is asked again.
    Use as a context manager; nothing is written, not even an empty file, before the first `put`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers = {line.key: _completion(line) for line in _read(path)}
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self._answers)

    def __getitem__(self, key: str) -> Completion:
        """The answer to `key`."""
        return self._answers[key]

    def put(self, key: str, completion: Completion) -> None:
        """Keep an answer; it is with the operating system when this returns."""
        line = Line(
            key,
            completion.text,
            completion.finish_reason,
            completion.prompt_tokens,
            completion.tokens,
        )
        data = memoryview(msgspec.json.encode(line) + b"\n")
        file = self._open()
        while data:  # a nearly full disk takes a part, and only then says that it is full
            data = data[file.write(data) :]
        self._answers[key] = completion

    def missing(self, keys: Sequence[str]) -> list[int]:
        """The places in `keys` that have no answer yet, each key at its first place only."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        return sorted(place for key, place in first.items() if key not in self._answers)

    def _open(self) -> FileIO:
        if self._file is None:
            file = self._path.open("ab", buffering=0)
            if file.tell() and not _ends_whole(self._path):
                file.write(b"\n")  # close the torn line, so that the next one starts clean
            self._file = file
        return self._file


def _read(path: Path) -> Iterator[Line]:
    decoder = msgspec.json.Decoder(Line)
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _completion(line: Line) -> Completion:
    return Completion(line.text, line.finish_reason, line.prompt_tokens, line.tokens)
