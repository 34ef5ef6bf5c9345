"""Two models to be compared, each on disk or behind a URL, and asked alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lichen.disk_model import DiskModel
from lichen.errors import InputError
from lichen.remote import KEY_VARIABLE, Access, RemoteModel, is_url, same_server
from lichen.verify.settings import Settings

Source = DiskModel | RemoteModel


def open_pair(
    models: tuple[str, str],
    names: tuple[str | None, str | None],
    access: Access,
    on_disk: Callable[[str], DiskModel],
) -> tuple[Source, Source]:
    """Both models; `names` are those that servers know theirs by.

    A server does not show its chat template, so a model behind one is asked in the other's.
    """
    _check(models, names, access)
    local = [None if is_url(model) else on_disk(model) for model in models]
    template = next((found.chat for found in local if found and found.has_chat), None)
    first, second = (
        found or RemoteModel(model, model=name, access=access, template=template)
        for found, model, name in zip(local, models, names, strict=True)
    )
    return first, second


def asked_alike(settings: Settings, *models: Source) -> Settings:
    """The settings with the prompt style that all of the models can be asked in.

    A server that takes messages alone leaves no way to begin the answer; then nobody's is begun.
    """
    limited = [m for m in models if isinstance(m, RemoteModel) and m.by_messages]
    if not limited:
        return settings
    if settings.style not in ("auto", "chat-open"):
        raise InputError(
            f"{limited[0].path} takes messages alone, which style {settings.style} is not; "
            "take style chat-open, or auto."
        )
    for model in models:
        if not model.has_chat:
            raise InputError(
                f"{limited[0].path} takes messages alone, and {model.facts.name} has no chat "
                "template: the two cannot be asked alike."
            )
    return replace(settings, style="chat-open")


def _check(models: tuple[str, str], names: tuple[str | None, str | None], access: Access) -> None:
    for model, name in zip(models, names, strict=True):
        if name is not None and not is_url(model):
            raise InputError(f"{model} is no URL, so it has no name {name!r} on a server.")
    if all(map(is_url, models)) and access.key and not same_server(*models):
        raise InputError(
            f"${KEY_VARIABLE} would go to two servers; hold each against a model on disk, or "
            "put both behind one address."
        )
