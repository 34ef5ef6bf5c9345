"""Architectures: one file each, named by its Hugging Face ``model_type``.

A file offers ``Config`` (every field that it reads) and ``graph(config)``.  Nothing else in lichen
knows an architecture, so adding one adds one file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from lichen.errors import InputError
from lichen.graph import Graph
from lichen.models import config as _config

_HELPERS = {"config", "rope"}


def model_types() -> list[str]:
    """The architectures that lichen knows."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - _HELPERS)


def build(config: Mapping[str, Any]) -> Graph:
    """The graph of the model that a ``config.json`` describes; InputError as of `read`."""
    graph: Graph = _architecture(config).graph(read(config))
    return graph


def read(config: Mapping[str, Any]) -> Any:
    """A Hugging Face ``config.json`` as the architecture's own ``Config``.

    Raises InputError for a ``model_type`` that has no file here, and for configurations with
    fields that are unknown, missing, of the wrong type, or outside what the architecture supports.
    """
    return _config.parse(_architecture(config).Config, config)


def _architecture(config: Mapping[str, Any]) -> Any:
    model_type = config.get("model_type")
    if model_type not in model_types():
        raise InputError(
            f"model_type {model_type!r} is not supported; lichen reads {', '.join(model_types())}."
        )
    return importlib.import_module(f"{__name__}.{model_type}")
