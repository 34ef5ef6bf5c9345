"""The supervising side: workers, deadlines and results.

Each job is a coroutine that waits for one descriptor at a time; one selector drives them all.
There are no threads, and every wait has an end.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, cast

from . import verdicts
from .api import Job, Launcher, Level, Limits, Result, SandboxError, Verdict
from .launcher import DeadZygoteError, MissingLayerError
from .limits import NOBODY, THREADS, tasks_of
from .portable import LINUX, cores
from .worker import Wait, Worker

LAYERS = ("namespaces", "landlock", "seccomp", "limits") if LINUX else ("seatbelt", "limits")
_VERDICT_BYTES = 65536
# Of the time, used or waited for: a process that others starve wants a core always, a sleeping
# one never.
_IDLE_SHARE = 0.02
_NAPS = 2  # times ``idle_seconds``, which a job may sleep in all, in however small pieces
_PATIENCE = 9  # times ``wall_seconds``, beyond which waiting for a core counts like the rest
_TRIES = 2
_PER_CORE = 2  # a program's process and its tests' mostly wait for each other


def level_of(layers: frozenset[str]) -> Level:
    """The rung of the ladder that these layers make."""
    if layers >= {"seatbelt", "limits"}:
        return "macos"
    if "seccomp" not in layers or "limits" not in layers:
        return "weak" if {"limits"} < layers else "none"
    if "namespaces" not in layers:
        return "reduced"
    return "full" if "landlock" in layers else "strong"


@dataclass
class _Task:
    """A job under way."""

    index: int
    job: Job
    worker: Worker
    steps: Generator[Wait, bool, Result]
    deadline: float = 0.0
    tries: int = 1


class Sandbox:
    """Runs untrusted programs against trusted tests; use it as a context manager.

    ``workers``: jobs at a time (default: two for each core that this process may use).
    ``allow_weak`` accepts a machine without seccomp, ``unsafe`` one without any layer.
    ``without`` leaves layers out on purpose ("namespaces", "landlock", "seccomp", "limits";
    "direct" leaves out making namespaces without a helper): it shows what each is worth.
    ``level`` says what was reached, ``missing`` which layers could not be had, and why,
    ``launcher`` who made the namespaces, ``refused`` why a helper program had to.

    ``readable``: folders beside the standard library that can be read and imported from;
    ``readable_by_tests``: the same for tests, and for programs that share their process.

    For one thread at a time.  Raises `SandboxError` when the level is below what is accepted.
    """

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits | None = None,
        *,
        allow_weak: bool = False,
        unsafe: bool = False,
        without: frozenset[str] = frozenset(),
        readable: Sequence[str] = (),
        readable_by_tests: Sequence[str] = (),
    ) -> None:
        self.limits = limits or Limits()
        self.level: Level = "none"
        self.launcher: Launcher = "bwrap" if "direct" in without else "direct"
        if not LINUX and "seatbelt" not in without:
            self.launcher = "sandbox-exec"
        self.refused = ""
        self.missing: dict[str, str] = {}
        self._readable = tuple(readable)
        self._readable_by_tests = tuple(readable_by_tests)
        self._count = workers
        self._accepted = {"full", "strong", "reduced", "macos"}
        self._accepted |= {"weak"} if allow_weak or unsafe else set()
        self._accepted |= {"none"} if unsafe else set()
        self._layers = frozenset(LAYERS) - without
        self._workers: list[Worker] = []
        self._known_splits: dict[Job, bool] = {}
        self._entered = False
        self._running = False

    def __enter__(self) -> Self:
        if not LINUX and sys.platform != "darwin":
            raise SandboxError(f"the sandbox needs Linux or macOS; this is {sys.platform}")
        try:
            self._settle_layers()
            self._entered = True
            self._fill()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the sandbox; returns when they are gone."""
        self._entered = False
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.hang_up()  # all at once, then wait for each
        for worker in workers:
            worker.close()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Run all ``jobs``; (index, result) in the order in which they finish.

        When the iteration is left early, by an exception or Ctrl-C, what was running is killed.
        """
        if not self._entered or self._running:
            raise SandboxError("a Sandbox runs inside its `with` block, one run() at a time")
        self._fill()
        waiting = iter(enumerate(jobs))
        idle = list(self._workers)
        active: dict[int, _Task] = {}
        self._running = True
        with selectors.DefaultSelector() as selector:
            try:
                while True:
                    while idle and (item := next(waiting, None)) is not None:
                        worker = idle.pop()
                        task = _Task(*item, worker, self._steps(item[1], worker))
                        result = self._advance(task, None, active, selector)
                        if result is not None:
                            idle.append(task.worker)
                            yield task.index, result
                    if not active:
                        return
                    for task, ready in self._due(active, selector):
                        result = self._advance(task, ready, active, selector)
                        if result is not None:
                            idle.append(task.worker)
                            yield task.index, result
            finally:
                self._running = False
                for task in active.values():
                    task.steps.close()
                for worker in [w for w in self._workers if w not in idle]:
                    self._discard(worker)
                for worker in idle:
                    with contextlib.suppress(DeadZygoteError):  # the next run will replace it
                        worker.rest()

    def _due(
        self, active: dict[int, _Task], selector: selectors.BaseSelector
    ) -> list[tuple[_Task, bool]]:
        """Wait; the tasks whose descriptor is readable (True) or whose time has come (False)."""
        soonest = min(task.deadline for task in active.values())
        events = selector.select(max(0.0, soonest - time.monotonic()))
        ready = {key.fd for key, _ in events}
        now = time.monotonic()
        return [
            (task, descriptor in ready)
            for descriptor, task in active.items()
            if descriptor in ready or task.deadline <= now
        ]

    def _advance(
        self,
        task: _Task,
        ready: bool | None,
        active: dict[int, _Task],
        selector: selectors.BaseSelector,
    ) -> Result | None:
        """Go on with a task until it waits again; its result if it has finished."""
        for descriptor in [d for d, t in active.items() if t is task]:
            selector.unregister(descriptor)
            del active[descriptor]
        try:
            wait = next(task.steps) if ready is None else task.steps.send(ready)
        except StopIteration as stop:
            return cast(Result, stop.value)
        except DeadZygoteError:
            return self._retry(task, active, selector)
        task.deadline = wait.deadline
        active[wait.descriptor] = task
        selector.register(wait.descriptor, selectors.EVENT_READ)
        return None

    def _retry(
        self, task: _Task, active: dict[int, _Task], selector: selectors.BaseSelector
    ) -> Result | None:
        """After a worker's death: a new worker, the same job once more, then ``crashed``."""
        self._discard(task.worker)
        try:
            task.worker = self._start()
        except (MissingLayerError, DeadZygoteError) as error:
            raise SandboxError(f"a sandbox worker could not be restarted: {error}") from None
        if task.tries == _TRIES:
            return Result("crashed", "the sandbox's own process died", 0.0, forgeable=False)
        task.tries += 1
        task.steps = self._steps(task.job, task.worker)
        return self._advance(task, None, active, selector)

    def _steps(self, job: Job, worker: Worker) -> Generator[Wait, bool, Result]:
        started = time.monotonic()
        size = sum(len(text) for text in (job.program, job.preamble, job.test))
        split = job.split
        note = ""
        if size > self.limits.source_bytes:
            verdict, detail = "refused", f"{size} characters of source"
        else:
            verdict, detail = yield from self._attempt(job, worker, split=split)
            if verdict == verdicts.UNSPLIT and (yield from self._splits(job, worker)):
                verdict = "failed"
            elif verdict == verdicts.UNSPLIT:
                split, note = False, f" (in one process: {detail})"
                verdict, detail = yield from self._attempt(job, worker, split=False)
        seconds = time.monotonic() - started
        shown = verdicts.printable(detail + note)
        return Result(cast(Verdict, verdict), shown, seconds, forgeable=not split)

    def _splits(self, job: Job, worker: Worker) -> Generator[Wait, bool, bool]:
        """Whether the reference can be kept apart from the tests: then only a wrong one cannot."""
        if not job.reference:
            return False
        task = replace(job, program=job.reference)
        if task not in self._known_splits:
            verdict, _ = yield from self._attempt(task, worker, split=True)
            self._known_splits[task] = verdict != verdicts.UNSPLIT
        return self._known_splits[task]

    def _attempt(
        self, job: Job, worker: Worker, *, split: bool
    ) -> Generator[Wait, bool, tuple[str, str]]:
        descriptor = worker.launch(job, self.limits, split=split)
        try:
            line = yield from self._await_line(descriptor, worker)
        finally:
            os.close(descriptor)
        if isinstance(line, str):
            yield from worker.stop(await_program=False, await_tests=False)
            return "timeout", line
        said = verdicts.parse(line)
        program, tests = yield from worker.stop(
            await_program=verdicts.is_gone(said) or (said is None and not split),
            await_tests=said is None and split,
            keep_judge=split and verdicts.is_judged(said),
        )
        return verdicts.conclude(said, program, tests, self.limits, split=split)

    def _await_line(self, descriptor: int, worker: Worker) -> Generator[Wait, bool, bytes | str]:
        """The verdict's bytes (empty: its writer died), or in words why time is up."""
        line = b""
        looked = began = time.monotonic()
        pause = min(self.limits.idle_seconds, self.limits.wall_seconds)
        busy = 0.0
        while len(line) < _VERDICT_BYTES:
            if (yield Wait(descriptor, looked + pause)):
                part = os.read(descriptor, _VERDICT_BYTES)
                line += part
                if not part or line.endswith(b"\n"):
                    return line
                continue
            now = time.monotonic()
            waited = worker.waited_seconds()
            own = now - began - min(waited, _PATIENCE * self.limits.wall_seconds)
            if own >= self.limits.wall_seconds:
                return f"{self.limits.wall_seconds:g} s passed"
            used = worker.cpu_seconds()
            # RLIMIT_CPU counts in clock ticks; who often sleeps through a tick escapes it.
            if LINUX and max(used) > math.ceil(self.limits.cpu_seconds) + 1:
                return f"used {max(used):.1f} s of CPU time"
            before, busy = busy, sum(used) + waited
            if busy - before < _IDLE_SHARE * (now - looked):
                return f"asleep for {now - looked:.1f} s"
            # Where waiting is not counted (0.0), it cannot be told from sleep.
            if waited and own - sum(used) > _NAPS * self.limits.idle_seconds:
                return f"asleep for {own - sum(used):.1f} s in all"
            looked = now
        return b""

    def _config(self, layers: frozenset[str]) -> dict[str, Any]:
        return {
            "layers": sorted(layers),
            "launcher": self.launcher,
            "processes": self._processes(layers),
            "cpu_seconds": math.ceil(self.limits.cpu_seconds),
            "memory_bytes": self.limits.memory_bytes,
            "output_bytes": self.limits.output_bytes,
            "scratch_bytes": self.limits.file_bytes,
            "readable": self._readable,
        }

    def _processes(self, layers: frozenset[str]) -> int:
        if "namespaces" in layers and self.launcher == "direct":
            return THREADS
        return THREADS + tasks_of(NOBODY if os.geteuid() == 0 else os.geteuid())

    def _settle_layers(self) -> None:
        """Start the first worker with as many layers as can be had, from all of them down."""
        while True:
            self.level = level_of(self._layers)
            if self.level not in self._accepted:
                reasons = "; ".join(f"{name}: {why}" for name, why in self.missing.items())
                raise SandboxError(f"no safe sandbox here, only level '{self.level}' ({reasons})")
            try:
                self._start()
                return
            except MissingLayerError as missing:
                if missing.layer not in self._layers:
                    raise SandboxError(f"the sandbox cannot start: {missing}") from None
                self._do_without(missing)
            except DeadZygoteError:
                raise SandboxError("the sandbox's process ended while it was set up") from None

    def _do_without(self, missing: MissingLayerError) -> None:
        """Next time without that layer; namespaces are asked of the helper program first."""
        if missing.layer != "namespaces":
            self.missing[missing.layer] = missing.reason
            self.launcher = "direct" if missing.layer == "seatbelt" else self.launcher
        elif self.launcher == "direct":
            self.launcher, self.refused = "bwrap", missing.reason
            return
        else:
            self.launcher = "direct"
            self.missing["namespaces"] = "; ".join(filter(None, (self.refused, missing.reason)))
        self._layers -= {missing.layer}

    def _fill(self) -> None:
        """Start workers until there are as many as wanted, all at once."""
        count = self._count or _PER_CORE * cores()
        started = [self._launch() for _ in range(count - len(self._workers))]
        try:
            for worker in started:
                worker.wait_ready()
        except (MissingLayerError, DeadZygoteError) as error:
            self.close()
            raise SandboxError(f"a sandbox worker could not start: {error}") from None

    def _start(self) -> Worker:
        worker = self._launch()
        try:
            worker.wait_ready()
        except BaseException:
            self._discard(worker)
            raise
        return worker

    def _launch(self) -> Worker:
        worker = Worker(self._config(self._layers), self._readable_by_tests)
        self._workers.append(worker)
        return worker

    def _discard(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.close()
