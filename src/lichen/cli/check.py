"""``lichen check``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lichen.cli import again, options
from lichen.cli import command as shared
from lichen.cli.verdict import report_decision


@shared.subcommand("lichen check qwen2.5-coder-0.5b --recipe int8 --out run")
@click.argument("model", default=options.DEFAULT_MODEL)
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    default=("int8",),
    show_default=True,
    metavar="R",
    help="A recipe's name, or a .toml file; one at a time.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the run; else runs/MODEL-RECIPE."
)
@click.option(
    "--fetch", is_flag=True, help="Fetch a model of `lichen models list` that is not here."
)
@options.examination
@options.machine
@options.force
@options.resume
def command(
    model: str,
    recipes: tuple[str, ...],
    out: Path | None,
    fetch: bool,
    force: bool,
    resume: Path | None,
    **given: Any,
) -> int:
    """Quantize MODEL, verify, decide and report.

    MODEL is a folder, a .gguf file, or a name from `lichen models list`. Interrupted, it goes on
    where it stopped when it is run again with the same --out, or with --resume. Ends with 0 if the
    quantized model is accepted, 1 if it is rejected, 3 if there is not enough evidence.
    """
    if resume is not None:
        return again.resume(resume)
    if len(recipes) > 1:
        raise click.UsageError("one --recipe at a time; run each with its own --out.")
    [recipe] = recipes
    from lichen.check import check

    progress = shared.progress()
    if fetch and shared.is_known(model) and not shared.model_path(model):
        shared.fetch(model, progress)
    folder = out or options.default_out(model, recipe)
    record = check(
        model,
        recipe,
        out=folder,
        settings=options.settings(given),
        effort=options.effort(given),
        force=force,
        command=shared.command_line(),
        progress=progress,
    )
    return report_decision(record, folder, model_folder=Path(record.candidate.path))
