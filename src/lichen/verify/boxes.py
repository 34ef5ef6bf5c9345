"""The sandboxes of a run: one for each task set, since sets differ in what may be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lichen.errors import ResourceError
from lichen.sandbox import Level, Sandbox, SandboxError
from lichen.tasks import TaskSet

_LEVELS: tuple[Level, ...] = ("none", "weak", "reduced", "strong", "full")


@dataclass(frozen=True)
class Boxes:
    """The sandbox of each task set, by the set's name."""

    of_set: Mapping[str, Sandbox]

    @property
    def level(self) -> Level:
        """The lowest level among them."""
        return min((box.level for box in self.of_set.values()), key=_LEVELS.index)


@contextmanager
def sandboxes(sets: Sequence[TaskSet], *, allow_weak: bool, unsafe: bool) -> Iterator[Boxes]:
    """Open what the sets need; sets that may read the same share one sandbox.

    ResourceError for what cannot be set up here, or breaks down later.
    """
    opened: dict[tuple[tuple[str, ...], ...], Sandbox] = {}
    try:
        with ExitStack() as stack:
            for part in sets:
                folders = part.readable, part.readable_by_tests
                if folders not in opened:
                    sandbox = Sandbox(
                        allow_weak=allow_weak,
                        unsafe=unsafe,
                        readable=part.readable,
                        readable_by_tests=part.readable_by_tests,
                    )
                    opened[folders] = stack.enter_context(sandbox)
            yield Boxes({p.name: opened[p.readable, p.readable_by_tests] for p in sets})
    except SandboxError as error:
        raise ResourceError(str(error)) from error
