"""``lichen verify``: two models that are already there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.verdict import report_decision


@shared.subcommand("lichen verify qwen2.5-coder-0.5b model-int8 --tasks basics --out run")
@click.argument("reference")
@click.argument("candidate")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@options.examination
@options.machine
@options.force
def command(reference: str, candidate: str, out: Path, force: bool, **given: Any) -> int:
    """Compare two models on all axes.

    Both are folders, .gguf files, or names from `lichen models list`. Ends with 0 if the candidate
    is accepted, 1 if it is rejected, 3 if there is not enough evidence.
    """
    from lichen.check import verify

    record = verify(
        reference,
        candidate,
        out=out,
        settings=options.settings(given),
        effort=options.effort(given),
        cache=shared.cache_folder(),
        force=force,
        command=shared.command_line(),
        progress=shared.progress(),
    )
    return report_decision(record, out, model_folder=None)
