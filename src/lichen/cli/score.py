"""``lichen tasks score``: samples from a file against the tests of their tasks."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.library import Library, judge, sandbox_options, search_options
from lichen.cli.output import emit, emit_json, reason

if TYPE_CHECKING:
    from lichen.sandbox import Result
    from lichen.verify.samples import Sample, Score

    Judged = list[tuple[Sample, Result]]


@shared.subcommand("lichen tasks score samples.jsonl --tasks humaneval -k 1 --out results.jsonl")
@click.argument("file", type=click.Path(path_type=Path), metavar="SAMPLES")
@search_options
@click.option("-k", "ks", type=click.IntRange(1), multiple=True, default=(1,), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write a line for each sample here.")
@options.force
@click.option("--validate", is_flag=True, help="Leave out tasks whose own reference fails.")
@sandbox_options
def command(
    file: Path,
    tasks: str | None,
    data: Path | None,
    ks: tuple[int, ...],
    out: Path | None,
    force: bool,
    validate: bool,
    allow_weak: bool,
) -> None:
    """Score samples by their verdicts in the sandbox: pass@k by the unbiased estimator.

    Each line has a task_id, and a completion (what follows the prompt) or a solution (a whole
    program); or it is a line of a run's completions.jsonl, of which the perturbed ones are left
    out and the two models are told apart. A folder has a folder for each task, with programs.
    """
    from lichen.verify.samples import read_samples

    _check_out(out, force)
    library = Library(tasks, data)
    samples = read_samples(file, library.find)
    if validate:
        samples = _sound(samples, library, allow_weak)
    answered = [sample.task for sample in samples]
    programs = [sample.program for sample in samples]
    results = judge(library.sets, answered, programs, allow_weak=allow_weak, title="Scoring")
    groups: dict[str, Judged] = defaultdict(list)
    for sample, result in zip(samples, results, strict=True):
        groups[sample.group].append((sample, result))
    scores = {name: _score(judged, library, ks) for name, judged in groups.items()}
    if out is not None:
        _write(out, groups)
    _tell(scores)


def _check_out(out: Path | None, force: bool) -> None:
    """Refuse before the work what cannot be written after it."""
    if out is None:
        return
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise click.UsageError(f"cannot write {out}: give a file in a folder that is there.")
    if out.exists() and not force:
        raise click.UsageError(f"{out} is there already; choose another file or use --force.")


def _sound(samples: Sequence[Sample], library: Library, allow_weak: bool) -> list[Sample]:
    """The samples of tasks whose reference passes; the others are named on stderr."""
    from lichen.errors import InputError

    tasks = list({sample.task.id: sample.task for sample in samples}.values())
    results = judge(
        library.sets,
        tasks,
        [task.reference for task in tasks],
        allow_weak=allow_weak,
        title="Validating",
    )
    broken = {
        task.id: f"{result.verdict} {result.detail}".rstrip()
        for task, result in zip(tasks, results, strict=True)
        if result.verdict != "passed"
    }
    for task_id, told in broken.items():
        shared.progress().say(f"left out {task_id}: its reference does not pass: {told}")
    kept = [sample for sample in samples if sample.task.id not in broken]
    if not kept:
        raise InputError("every task that has samples was left out: no reference passes its tests.")
    return kept


def _score(judged: Judged, library: Library, ks: Sequence[int]) -> Score:
    from lichen.verify.samples import score

    samples = [sample for sample, _ in judged]
    sets = {(found := library.set_of(sample.task)).name: found for sample in samples}
    of_run = samples[0].group != "all"  # a run knows itself what it asked
    asked = {sample.task.id for sample in samples}
    total = len(asked) if of_run else sum(len(found.tasks) for found in sets.values())
    return score(samples, [result for _, result in judged], total, ks)


def _write(out: Path, groups: dict[str, Judged]) -> None:
    """A line of JSON for each sample; the file is whole or not there."""
    import msgspec

    lines = []
    for group, judged in groups.items():
        counts: dict[str, int] = defaultdict(int)
        for sample, result in judged:
            row = {"task_id": sample.task.id, "group": group, "sample": counts[sample.task.id]}
            row |= {"passed": result.verdict == "passed", **msgspec.to_builtins(result)}
            lines.append(msgspec.json.encode(row))
            counts[sample.task.id] += 1
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(b"\n".join(lines) + b"\n")
        partial.replace(out)
    except OSError as error:
        raise click.UsageError(f"cannot write {out}: {reason(error)}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _tell(scores: dict[str, Score]) -> None:
    if shared.wants_json():
        emit_json({name: _plain(found) for name, found in scores.items()})
        return
    for name, found in scores.items():
        emit(f"{name}: {_rates(found)}")
        counts = ", ".join(f"{count} {verdict}" for verdict, count in found.verdicts.items())
        emit(f"  {found.samples} samples: {counts}")
        if found.forgeable:
            emit(f"  forgeable, judged in one process: {', '.join(found.forgeable)}")


def _rates(found: Score) -> str:
    answered = ", ".join(f"pass@{k} {rate:.1%}" for k, rate in found.pass_at.items())
    if found.answered == found.tasks:
        return f"{answered} of {found.tasks} tasks"
    share = found.answered / found.tasks
    overall = ", ".join(f"pass@{k} {rate * share:.1%}" for k, rate in found.pass_at.items())
    return (
        f"{answered} of the {found.answered} tasks that were answered; {overall} of all"
        f" {found.tasks}, the {found.tasks - found.answered} others counted as failed"
    )


def _plain(found: Score) -> dict[str, object]:
    """A score as JSON has it: a key for each rate instead of pass_at."""
    plain = asdict(found)
    share = found.answered / found.tasks
    for k, rate in plain.pop("pass_at").items():
        plain |= {f"pass@{k}": rate, f"pass@{k} of all tasks": rate * share}
    return plain
