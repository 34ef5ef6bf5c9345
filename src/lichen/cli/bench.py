"""``lichen bench``: what one model costs on this machine."""

from __future__ import annotations

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.output import emit, emit_columns, emit_json


@shared.subcommand("lichen bench qwen2.5-coder-0.5b --threads 2")
@click.argument("model")
@options.machine
def command(model: str, threads: int | None, isa: str | None) -> None:
    """Measure load time, memory and speed.

    MODEL runs in a process of its own."""
    from lichen import measure
    from lichen.checkpoint.registry import resolve
    from lichen.engine.machine import choose_isa, choose_threads

    path = resolve(model, cache=shared.cache_folder())
    machine = measure.machine(threads=choose_threads(threads), isa=choose_isa(isa))
    with shared.progress().step(f"Measuring {model}"):
        timed = measure.measure_model(path, threads=threads, isa=isa)
    readings = {"size": measure.size_on_disk(path), **timed}
    if shared.wants_json():
        emit_json({"model": str(path), "machine": machine, "readings": readings})
        return
    from lichen.report import words

    emit(f"{machine['processor']}, {machine['threads']} threads, {machine['isa']}")
    emit_columns(
        [
            (
                name.replace("_", " "),
                words.reading(reading),
                words.reading_range(reading) or "",
                f"{reading.kind}: {reading.source}",
            )
            for name, reading in readings.items()
        ]
    )
