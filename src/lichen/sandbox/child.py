"""The program's process: it runs the untrusted source and answers calls of its entry point."""

from __future__ import annotations

from typing import Any

from .codec import loads
from .judge import TESTS, failure, new_module, verdict_line
from .peer import Fault, Peer, describe


def run(payload: bytes, channel: int) -> None:
    """Load the program, offer its entry point to the tests' process, answer until it goes."""
    task = loads(payload)
    peer = Peer(channel, strict=False)
    try:
        entry = load(task)
    except BaseException as error:
        peer.offer_exception(error)
        return
    peer.offer(entry)
    try:
        peer.serve()
    except Fault:
        return


def load(task: dict[str, Any], namespace: dict[str, Any] | None = None) -> Any:
    """Run the program as a module; the entry point that it defines."""
    module = new_module("program") if namespace is None else namespace
    exec(compile(task["program"], "<program>", "exec", dont_inherit=True), module)  # noqa: S102
    entry = module.get(task["entry_point"])
    if not callable(entry):
        raise NameError(f"the program does not define {task['entry_point']}()")
    return entry


def run_together(payload: bytes) -> bytes:
    """Program and tests in one process: a program could forge this verdict (labelled so)."""
    task = loads(payload)
    namespace = new_module("program")
    try:
        exec(compile(task["preamble"], "<preamble>", "exec", dont_inherit=True), namespace)  # noqa: S102
        namespace["candidate"] = load(task, namespace)
    except MemoryError:
        return verdict_line("memory", "MemoryError")
    except BaseException as error:
        return verdict_line("error", describe(error))
    try:
        exec(compile(task["test"], TESTS, "exec", dont_inherit=True), namespace)  # noqa: S102
    except BaseException as error:
        return verdict_line(*failure(error, task["test"]))
    return verdict_line("passed", "")
