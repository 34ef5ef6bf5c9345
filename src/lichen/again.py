"""A run taken up again by its folder alone: gone on with, or scored anew without any model."""

from __future__ import annotations

import hashlib
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from lichen.check import check, verify
from lichen.errors import InputError
from lichen.invocation import Invocation
from lichen.report import write_report
from lichen.verify import rescore as scoring
from lichen.verify.progress import Progress, Silent
from lichen.verify.record import Record
from lichen.verify.run import MARKER, RunFolder, read_marker


def invocation_of(folder: Path) -> Invocation:
    """What was asked for in a run's folder; InputError for a folder that does not say."""
    marker = read_marker(folder)
    if marker is None:
        raise InputError(f"{folder} is not a run of lichen: it has no {MARKER} to go on from.")
    if marker.invocation is None:
        raise InputError(
            f"{folder / MARKER} does not say how the run was started (an earlier lichen made it, "
            "or it was scored again from another folder); give the same command again, with this "
            "folder as --out."
        )
    return Invocation.read(marker.invocation, folder / MARKER)


def resume(
    folder: str | Path,
    *,
    key: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Record:
    """Go on with the run in this folder, as it was started; nothing is asked twice.

    Relative paths mean what they meant then: the working directory is changed meanwhile.  `key`
    is for servers, since no folder keeps one.
    """
    place = Path(folder).resolve()
    asked = invocation_of(place)
    if not Path(asked.folder).is_dir():
        raise InputError(f"{place} was started in {asked.folder}, which is no longer there.")
    with chdir(asked.folder):
        out = asked.out if Path(asked.out).resolve() == place else str(place)
        if asked.verb == "check":
            return check(
                asked.models[0],
                asked.recipe,
                out=out,
                settings=asked.settings,
                effort=asked.effort,
                cache=cache,
                command=asked.command,
                progress=progress,
            )
        return verify(
            asked.models[0],
            asked.models[1],
            out=out,
            settings=asked.settings,
            effort=asked.effort,
            cache=cache,
            command=asked.command,
            progress=progress,
            access=replace(asked.access, key=key),
            reference_name=asked.names[0],
            candidate_name=asked.names[1],
        )


def rescore(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    allow_weak: bool = False,
    unsafe: bool = False,
    force: bool = False,
    command: str = "lichen.again.rescore",
    progress: Progress | None = None,
) -> Record:
    """Score the answers of a finished run again, into the folder `out`, or in place.

    The old record stays until the new one is whole.  Relative paths of task sets mean what they
    meant then, where the run's folder says it and the place is still there.  `force` accepts tasks
    that have changed, and replaces another run in `out`.
    """
    source = Path(folder).absolute()
    target = source if out is None else Path(out).absolute()
    with _folder(source, target, force) as run, chdir(_started_in(source)):
        record = scoring.rescore(
            source,
            run,
            command=command,
            progress=progress or Silent(),
            allow_weak=allow_weak,
            unsafe=unsafe,
            force=force,
        )
        write_report(run.path)
    return record


def _started_in(source: Path) -> str:
    """Where the run was started; the folder of today where that is not known or no longer there."""
    marker = read_marker(source)
    known = marker.invocation.get("folder") if marker and marker.invocation else None
    return known if isinstance(known, str) and Path(known).is_dir() else "."


def _folder(source: Path, target: Path, force: bool) -> RunFolder:
    """The run's own folder, or another one that holds it scored again."""
    marker = read_marker(source)
    if target.resolve() == source.resolve():
        if marker is None:
            raise InputError(f"{source} has no {MARKER}, so nothing is replaced in it; give --out.")
        return RunFolder(source, marker.subject, marker.title, invocation=marker.invocation)
    name = marker.title if marker else source.name
    subject = hashlib.sha256(f"rescore\n{source.resolve()}".encode()).hexdigest()
    return RunFolder(target, subject, f"{name}, scored again", force=force)
