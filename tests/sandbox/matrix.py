"""What each layer is worth: the attacks, with one layer switched off or only one left on.

``python -m tests.sandbox.matrix`` prints the table of docs/sandbox.md (half a minute).
It never switches off what keeps an attack from the machine: without limits only attacks that ask
for little are run, and without both namespaces and filter only those that look.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lichen.sandbox import Job, Limits, Sandbox

from .attacks import ATTACKS, FORGE, HARMLESS, LEAK, LIES, MODEST, QUICK, task_of

LIMITS = Limits(cpu_seconds=1.0, idle_seconds=5.0)
ALL = frozenset({"namespaces", "landlock", "seccomp"})


@dataclass(frozen=True)
class Row:
    """A sandbox with something off, and the attacks that may be run in it."""

    title: str
    without: frozenset[str]
    names: Sequence[str]
    split: bool = True

    def through(self) -> list[str]:
        """The attacks that got what they were after."""
        jobs = [Job(*task_of(name), split=self.split) for name in self.names]
        with Sandbox(workers=4, limits=LIMITS, without=self.without, unsafe=True) as sandbox:
            results = dict(sandbox.run(jobs))
        return [name for i, name in enumerate(self.names) if results[i].verdict == "passed"]


_OPINIONS = [n for n in (*FORGE, *LIES, *LEAK) if n in QUICK]
ROWS = {
    "full": Row("nothing", frozenset(), tuple(ATTACKS)),
    "judge": Row("the split judge", frozenset(), _OPINIONS, split=False),
    "namespaces": Row("namespaces", frozenset({"namespaces"}), QUICK),
    "landlock": Row("Landlock", frozenset({"landlock"}), QUICK),
    "seccomp": Row("seccomp", frozenset({"seccomp"}), QUICK),
    "limits": Row("resource limits", frozenset({"limits"}), MODEST),
    "all": Row("namespaces, Landlock and seccomp", ALL, HARMLESS),
    "only namespaces": Row("Landlock and seccomp", ALL - {"namespaces"}, HARMLESS),
    "only landlock": Row("namespaces and seccomp", ALL - {"landlock"}, HARMLESS),
    "only seccomp": Row("namespaces and Landlock", ALL - {"seccomp"}, HARMLESS),
}


def table(rows: Iterable[Row]) -> Iterable[str]:
    """The rows as Markdown."""
    yield "| switched off | attacks run | got through | which |"
    yield "|---|---|---|---|"
    for row in rows:
        through = row.through()
        yield f"| {row.title} | {len(row.names)} | {len(through)} | {', '.join(through) or '-'} |"


if __name__ == "__main__":
    for line in table(ROWS[name] for name in sys.argv[1:] or ROWS):
        print(line, flush=True)
