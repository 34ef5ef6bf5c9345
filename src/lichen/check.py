"""The verbs that join the parts: `check` from a model to a decision, `verify` for two that exist.

Models are given as on the command line: a folder, a ``.gguf`` file, a name that was fetched or,
to be verified, the URL of a server.  The verbs of one model are in `lichen.one_model`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lichen import __version__, measure
from lichen.checkpoint.registry import default_cache, resolve
from lichen.disk_model import DiskModel
from lichen.engine.machine import choose_isa, choose_threads
from lichen.errors import InputError
from lichen.invocation import Effort as Effort
from lichen.invocation import Invocation
from lichen.measure import Reading
from lichen.pair import Source, asked_alike, open_pair
from lichen.quantize import existing, fingerprint
from lichen.quantize import quantize as quantize_path
from lichen.recipe import Recipe, load_recipe
from lichen.remote import Access
from lichen.report import write_report
from lichen.tasks import TaskSet
from lichen.verify import divergence as next_tokens
from lichen.verify.examine import TITLES, Probes, examine
from lichen.verify.marking import Work
from lichen.verify.paper import load_tasks
from lichen.verify.progress import Progress, Silent
from lichen.verify.record import Divergence, Machine, Record, Resources, Role
from lichen.verify.run import RunFolder
from lichen.verify.settings import Settings


def verify(
    reference: str | Path,
    candidate: str | Path,
    *,
    out: str | Path,
    settings: Settings | None = None,
    effort: Effort | None = None,
    cache: Path | None = None,
    force: bool = False,
    command: str = "lichen.verify",
    progress: Progress | None = None,
    access: Access | None = None,
    reference_name: str | None = None,
    candidate_name: str | None = None,
) -> Record:
    """Compare two models on all axes; the record and the report are left in the folder `out`.

    Run again with the same folder, it goes on where it was interrupted.  A model may be the URL of
    an OpenAI-compatible server: `access` says how that is asked, and the names by which model.
    """
    started = time.monotonic()
    settings, effort, progress = settings or Settings(), effort or Effort(), progress or Silent()
    access = access or Access()
    models, names = (str(reference), str(candidate)), (reference_name, candidate_name)
    asked = Invocation(
        "verify", models, str(out), command, settings, effort, names=names, access=access
    )
    sets = load_tasks(settings)
    original, changed = open_pair(
        models,
        names,
        access,
        lambda model: _open(model, effort, cache or default_cache()),
    )
    settings = asked_alike(settings, original, changed)
    subject = _digest("verify", original.digest, changed.digest)
    title = f"{original.facts.name} against {changed.facts.name}"
    with RunFolder(Path(out), subject, title, force=force, invocation=asked.plain()) as run:
        return _compare(original, changed, run, settings, sets, effort, command, progress, started)


def check(
    model: str | Path,
    recipe: str | Path = "int8",
    *,
    out: str | Path,
    settings: Settings | None = None,
    effort: Effort | None = None,
    cache: Path | None = None,
    force: bool = False,
    command: str = "lichen.check",
    progress: Progress | None = None,
) -> Record:
    """Quantize a model, and compare the result with the original on all axes.

    The folder `out` gets the quantized model (``model-RECIPE``), the record, the completions and
    the report.  Run again with the same folder, it goes on where it was interrupted.
    """
    started = time.monotonic()
    settings, effort, progress = settings or Settings(), effort or Effort(), progress or Silent()
    asked = Invocation(
        "check", (str(model),), str(out), command, settings, effort, recipe=str(recipe)
    )
    chosen = load_recipe(recipe)
    sets = load_tasks(settings)
    _require_possible(effort)
    reference = _open(str(model), effort, cache or default_cache())
    subject = _digest("check", reference.digest, chosen.digest)
    title = f"{reference.facts.name} by recipe {chosen.name}"
    with RunFolder(Path(out), subject, title, force=force, invocation=asked.plain()) as run:
        path = _quantized(reference, chosen, run, progress)
        name = f"{reference.facts.name} {chosen.name}"
        candidate = _on_disk(path, name, effort)
        return _compare(
            reference, candidate, run, settings, sets, effort, command, progress, started
        )


def _open(model: str, effort: Effort, cache: Path) -> DiskModel:
    """A model by what the user calls it: a name stays its name, a path gives its last part."""
    path = resolve(model, cache=cache)
    name = None if Path(model).exists() else model
    return _on_disk(path, name, effort)


def _on_disk(path: Path, name: str | None, effort: Effort) -> DiskModel:
    return DiskModel(
        path,
        name=name,
        threads=effort.threads,
        isa=effort.isa,
        kv_cache=effort.kv_cache,
        cache_bytes=effort.cache_bytes,
    )


def _quantized(reference: DiskModel, recipe: Recipe, run: RunFolder, progress: Progress) -> Path:
    """The quantized model's folder: as it is if the same work made it, else made now."""
    path = run.path / f"model-{recipe.name}"
    there = existing(path)
    if there is not None and there.fingerprint == fingerprint(reference.digest, recipe):
        progress.say(f"{path} is already there")
        return path
    with progress.step(f"Quantizing by {recipe.name}") as update:
        quantize_path(reference.path, recipe, path, force=True, progress=update, say=progress.say)
    return path


def _compare(
    reference: Source,
    candidate: Source,
    run: RunFolder,
    settings: Settings,
    sets: tuple[TaskSet, ...],
    effort: Effort,
    command: str,
    progress: Progress,
    started: float,
) -> Record:
    record = examine(
        reference,
        candidate,
        run,
        settings,
        _probes(reference, candidate, run, effort, progress),
        command=command,
        progress=progress,
        sets=sets,
        started=started,
    )
    write_report(run.path)
    return record


def _probes(
    reference: Source, candidate: Source, run: RunFolder, effort: Effort, progress: Progress
) -> Probes:
    """What is measured of the models themselves: nothing where one is behind a URL."""
    machine = partial(_machine, effort)
    if not (isinstance(reference, DiskModel) and isinstance(candidate, DiskModel)):
        progress.say("resources and divergence are not measured: a model is behind a URL")
        return Probes(machine)
    pair = _Pair(reference, candidate, run, effort, progress)
    return Probes(
        machine,
        resources=pair.resources() if effort.resources else None,
        divergence=pair.divergence if effort.divergence else None,
    )


def _require_possible(effort: Effort) -> None:
    """InputError for what cannot be, before a model is quantized for it."""
    _machine(effort)
    if effort.resources:
        measure.grid(effort.grid)


def _machine(effort: Effort) -> Machine:
    threads, isa = choose_threads(effort.threads), choose_isa(effort.isa)
    return Machine(**measure.machine(threads=threads, isa=isa), kv_cache=effort.kv_cache)


@dataclass(frozen=True)
class _Pair:
    """The steps of a run that need the models themselves, each kept once it is done."""

    reference: DiskModel
    candidate: DiskModel
    run: RunFolder
    effort: Effort
    progress: Progress

    def resources(self) -> Callable[[Mapping[Role, Work]], Resources]:
        """What measures both models, and what their work cost; a wrong grid is told at once."""
        grid = measure.grid(self.effort.grid)
        power = measure.power_model(measure.processor())
        models: dict[Role, DiskModel] = {"reference": self.reference, "candidate": self.candidate}
        threads = choose_threads(self.effort.threads)

        def account(work: Mapping[Role, Work]) -> Resources:
            readings = {role: self._readings(role, model) for role, model in models.items()}
            full = {
                role: found
                | measure.footprint(
                    found,
                    power,
                    grid,
                    threads=threads,
                    tokens=work[role].tokens,
                    solved=work[role].solved,
                )
                for role, found in readings.items()
            }
            return Resources(
                reference=full["reference"],
                candidate=full["candidate"],
                assumptions=measure.assumptions(power, grid),
            )

        return account

    def divergence(self) -> Divergence | None:
        """With both models in memory; None, and said so, where tokenizers differ."""
        key = [self.reference.digest, self.candidate.digest, *self._settings()]
        try:
            return self.run.remember("divergence.json", key, Divergence, self._diverge)
        except InputError as error:
            self.progress.say(f"divergence is left out: {error}")
            return None

    def _diverge(self) -> Divergence:
        with (
            self.progress.step("Divergence") as update,
            self.reference.open() as reference,
            self.candidate.open() as candidate,
        ):
            return next_tokens.measure(reference, candidate, progress=update)

    def _readings(self, role: Role, model: DiskModel) -> dict[str, Reading]:
        def measured() -> dict[str, Reading]:
            with self.progress.step(f"{TITLES[role]}: measuring"):
                timed = measure.measure_model(
                    model.path,
                    threads=self.effort.threads,
                    isa=self.effort.isa,
                    kv_cache=self.effort.kv_cache,
                    cache_bytes=self.effort.cache_bytes,
                )
            return {"size": measure.size_on_disk(model.path), **timed}

        key = [model.digest, *self._settings()]
        return self.run.remember(f"resources-{role}.json", key, dict[str, Reading], measured)

    def _settings(self) -> list[str]:
        """What the figures depend on beside the models."""
        machine = _machine(self.effort)
        effort = [machine.isa, machine.kv_cache, str(self.effort.cache_bytes)]
        return [__version__, machine.processor, str(machine.threads), *effort]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
