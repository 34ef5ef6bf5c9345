"""The tests' process: it asks the program's process for values and makes the verdict.

It never sees the program's source, and the program's process never sees the tests.
"""

from __future__ import annotations

import symtable
import sys
from types import FunctionType, ModuleType, TracebackType
from typing import Any

from .codec import dumps, loads
from .peer import Fault, Peer, describe

TESTS = "<tests>"


def decide(task: dict[str, Any], channel: int) -> tuple[str, str]:
    """The verdict on the program at the other end of ``channel``, and one line of detail.

    Beside the public verdicts: ``gone`` (the program's process ended early) and ``unsplit`` (these
    tests use something that cannot cross between processes).
    """
    peer = Peer(channel, strict=True, limit=task["value_bytes"])
    verdict = _decide(task, peer)
    if peer.fault is not None:  # also when a test swallowed it
        return peer.fault.kind, peer.fault.detail
    return verdict


def _decide(task: dict[str, Any], peer: Peer) -> tuple[str, str]:
    try:
        entry = peer.reply()
    except Fault as fault:
        return fault.kind, fault.detail
    except BaseException as error:
        return _of_program(error)
    if not isinstance(entry, FunctionType):
        return "failed", "not an answer"
    entry.__name__ = entry.__qualname__ = task["entry_point"]
    namespace = new_module("tests")
    try:
        exec(compile(task["preamble"], "<preamble>", "exec"), namespace)  # noqa: S102 (trusted source)
        tests = compile(task["test"], TESTS, "exec")
    except BaseException as error:
        return "refused", f"the task itself is broken: {describe(error)}"
    namespace["candidate"] = namespace[task["entry_point"]] = entry
    try:
        exec(tests, namespace)  # noqa: S102 (trusted source)
    except Fault as fault:
        return fault.kind, fault.detail
    except BaseException as error:
        if any(error is raised for raised in peer.raised):
            return _of_program(error)
        if type(error) is NameError and _needs_program(error.name, task["test"], namespace):
            return "unsplit", f"the tests use {error.name!r}, which the program defines"
        return failure(error, task["test"])
    return "passed", ""


def new_module(name: str) -> dict[str, Any]:
    """The namespace of a new module that imports (and dataclasses, pickle) can find."""
    module = ModuleType(name)
    sys.modules[name] = module
    return vars(module)


def _of_program(error: BaseException) -> tuple[str, str]:
    return ("memory" if isinstance(error, MemoryError) else "error"), describe(error)


def failure(error: BaseException, source: str) -> tuple[str, str]:
    """The verdict when the tests raised: with the line, as it stands in their source."""
    if isinstance(error, MemoryError):
        return "memory", "the tests ran out of memory"
    lines = source.splitlines()
    line = _last_line(error.__traceback__)
    text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return "failed", f"{describe(error)} in: {text}" if text else describe(error)


def _last_line(traceback: TracebackType | None) -> int:
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == TESTS:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _needs_program(name: str | None, source: str, namespace: dict[str, Any]) -> bool:
    """Whether the missing name is one that only the program can have meant to give.

    That depends on the tests' source alone, so a program cannot bring it about.
    """
    return name is not None and name not in namespace and name not in _bound(source)


def _bound(source: str) -> set[str]:
    """The names that something in the source binds, in whatever way."""
    names: set[str] = set()
    tables = [symtable.symtable(source, TESTS, "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names.update(
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_parameter()
        )
    return names


def run(payload: bytes, channel: int) -> bytes:
    """The verdict line for the supervisor."""
    return verdict_line(*decide(loads(payload), channel))


def verdict_line(verdict: str, detail: str) -> bytes:
    """The verdict as the supervisor reads it."""
    return dumps([verdict, detail[:2000]]) + b"\n"
