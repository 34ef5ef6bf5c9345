"""Hostile programs.  None may pass, hurt the supervisor, or be seen by the next job.

Each is a whole program; the entry point is ``f``.  It faces `TEST`, whose answer no program can
know, or, when it lies about what its values are, `EAGER`, which one fooled comparison passes.
A program that gets at what it is after answers "kea42", which is right: so "passed" means that
an attack got through.  All are harmless where nothing holds them: what they ask for is small,
and they undo it.
"""

from __future__ import annotations

from .escape import ESCAPE
from .exhaust import EXHAUST
from .forge import FORGE, LIES
from .leak import LEAK

TEST = "secret = 'kea' + str(40 + 2)\nassert f(1) == secret"
EAGER = """
from collections.abc import Iterator
from decimal import Decimal
secret, given = 'kea' + str(40 + 2), [2]
answer = f(given)
def fooled(check):
    try:
        return bool(check())
    except Exception:
        return False
assert any(map(fooled, [
    lambda: answer == secret,
    lambda: secret == answer,
    lambda: not answer != secret,
    lambda: [answer] == [secret] or (answer,) == (secret,) or {0: answer} == {0: secret},
    lambda: answer in (secret, 42, 42.5),
    lambda: secret in answer,
    lambda: answer in {secret: 0},
    lambda: hash(answer) == hash(secret),
    lambda: abs(answer - 42.5) < 1e-6,
    lambda: 42 < answer < 43,
    lambda: len(answer) == 42,
    lambda: answer[42] == secret,
    lambda: list(answer) == [secret],
    lambda: sorted(answer) == [secret],
    lambda: next(iter(answer)) == secret,
    lambda: str(answer) == secret or repr(answer) == repr(secret) or f'{answer}' == secret,
    lambda: int(answer) == 42 or round(answer) == 42 or range(100)[answer] == 42,
    lambda: answer() == secret,
    lambda: answer.value == secret or answer.secret == secret,
    lambda: not isinstance(answer, (int, float, complex, str, bytes, bytearray, list, tuple, set,
                                    frozenset, dict, Decimal, type(None), type(f), Iterator)),
    lambda: given != [2] and given[0] == secret,
]))
"""

ATTACKS = {**FORGE, **LIES, **LEAK, **EXHAUST, **ESCAPE}
# One limit stops many: these only burn a second each, as others here do already.
ALIKE = (
    *("source-long", "many-iterators", "hash-in-c", "iterator-in-c", "queue-in-c", "list-in-c"),
    *("power-in-c", "digits-in-c", "factorial", "sort-with-evil-key", "huge-list"),
    *("text-without-end", "branching-tuple", "deep-folders", "garbage", "half-a-frame"),
    *("liar-huge-decimal", "liar-iterator", "busy-threads", "repr-nested", "deletes-deeply"),
)
# Within limits whatever becomes of them: they ask for a little more than `Limits` of the tests.
MODEST = ("more-address-space", "more-descriptors", "more-file", "more-time", "small-threads")
# These may run where neither namespaces nor a filter hold them: they only look, and undo.
HARMLESS = (
    *LEAK,
    *("reads-passwd", "reads-home", "writes-elsewhere", "special-files", "set-user-id-file"),
    *("abstract-socket", "listens", "other-sockets", "system-files", "shared-memory-files"),
)
# Those that end at once where all layers are on.
_ENDING = ("fork-bomb", "raw-clone", "processes-by-library", "spawns", "semaphores", "mmap-bomb")
_WAITING = ("patched-open-and-print", "signal-handler", "stops-itself")
QUICK = tuple(
    name
    for name in (*FORGE, *LIES, *LEAK, *ESCAPE, *MODEST, *_ENDING, "shared-memory-files")
    if name not in ALIKE and name not in _WAITING and name != "more-time"
)


def task_of(name: str) -> tuple[str, str, str]:
    """The attack as a job's program, entry point and tests."""
    return ATTACKS[name], "f", EAGER if name in LIES else TEST
