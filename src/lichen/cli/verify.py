"""``lichen verify``: two models that are already there, on disk or behind a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lichen.cli import again, options
from lichen.cli import command as shared
from lichen.cli.verdict import report_decision


@shared.subcommand("lichen verify qwen2.5-coder-0.5b model-int8 --tasks basics --out run")
@click.argument("reference", required=False)
@click.argument("candidate", required=False)
@click.option("--candidate", "named", metavar="CANDIDATE", help="The same as an option.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@options.examination
@options.servers
@options.machine
@options.force
@options.resume
@click.option(
    "--rescore",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Judge the answers of a finished run again, without any model; in place unless --out.",
)
def command(
    reference: str | None,
    candidate: str | None,
    named: str | None,
    out: Path | None,
    force: bool,
    resume: Path | None,
    rescore: Path | None,
    **given: Any,
) -> int:
    """Compare two models on all axes.

    Both are folders, .gguf files, names from `lichen models list`, or the URLs of
    OpenAI-compatible servers, such as http://127.0.0.1:8080/v1; a key for a server is taken from
    $LICHEN_API_KEY. Ends with 0 if the candidate is accepted, 1 if it is rejected, 3 if there is
    not enough evidence.
    """
    if resume is not None:
        return again.resume(resume)
    if rescore is not None:
        return again.rescore(rescore, out, force, given)
    chosen = candidate or named
    if reference is None:
        raise click.UsageError("give a REFERENCE and a CANDIDATE; or --resume, or --rescore.")
    if chosen is None or (candidate and named):
        raise click.UsageError("give one CANDIDATE, as the second argument or by --candidate.")
    if out is None:
        raise click.UsageError("missing option '--out': the folder of the run.")
    from lichen.check import verify

    record = verify(
        reference,
        chosen,
        out=out,
        settings=options.settings(given),
        effort=options.effort(given),
        force=force,
        command=shared.command_line(),
        progress=shared.progress(),
        access=options.access(given),
        reference_name=given["reference_model"],
        candidate_name=given["candidate_model"],
    )
    return report_decision(record, out, model_folder=None)
