"""What `check` and `verify` do with a run that is there: go on with it, or score it again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.output import emit
from lichen.cli.verdict import report_decision


def resume(folder: Path) -> int:
    """Go on with a run, whichever command it was of."""
    options.refuse_others("resume")
    from lichen import again
    from lichen.checkpoint.registry import default_cache
    from lichen.remote import KEY_VARIABLE

    verb = again.invocation_of(folder).verb
    record = again.resume(
        folder,
        key=os.environ.get(KEY_VARIABLE) or None,
        cache=default_cache().absolute(),
        progress=shared.progress(),
    )
    model = folder / Path(record.candidate.path).name
    return report_decision(record, folder, model_folder=model if verb == "check" else None)


def rescore(folder: Path, out: Path | None, force: bool, given: dict[str, Any]) -> int:
    """Score a run again, and say which verdicts changed."""
    options.refuse_others("rescore", "out", "force", "allow_weak", "unsafe_no_sandbox")
    from lichen import again

    record = again.rescore(
        folder,
        out=out,
        allow_weak=given["allow_weak"],
        unsafe=given["unsafe_no_sandbox"],
        force=force,
        command=shared.command_line(),
        progress=shared.progress(),
    )
    if not shared.wants_json():
        from lichen.report import render_changes

        emit(f"{render_changes(record)}\n")
    return report_decision(record, out or folder, model_folder=None)
