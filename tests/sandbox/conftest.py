from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lichen.sandbox import Job, Limits, Result, Sandbox, probe

# What this machine allows: a container may refuse namespaces.
LEVEL = probe().level
LIMITS = Limits(cpu_seconds=1.0, idle_seconds=1.5, wall_seconds=30.0)


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, limits=LIMITS) as started:
        yield started


@pytest.fixture
def run(sandbox: Sandbox) -> Callable[..., Result]:
    """Run one program with one test; ``f`` is the entry point."""

    def run_one(program: str, test: str, preamble: str = "", *, split: bool = True) -> Result:
        [(_, result)] = sandbox.run([Job(program, "f", test, preamble, split)])
        return result

    return run_one
