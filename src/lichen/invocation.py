"""How a run was asked for: kept in its folder, so that it can be taken up again by that alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from lichen.engine.scheduler import KV_TYPE
from lichen.errors import InputError
from lichen.loading import cache_bytes
from lichen.remote import Access
from lichen.verify.settings import Settings


@dataclass(frozen=True)
class Effort:
    """How a run uses the machine, and which of the axes beside correctness it takes on.

    kv_cache  what keys and values are stored as; cache_gb the memory for them, GB of 1e9 bytes
    grid      a country, or grams of CO2 per kWh; the world average when None
    """

    threads: int | None = None
    isa: str | None = None
    kv_cache: str = KV_TYPE
    cache_gb: float | None = None
    resources: bool = True
    divergence: bool = True
    grid: str | float | None = None

    @property
    def cache_bytes(self) -> int:
        """The memory for keys and values, in bytes."""
        return cache_bytes(self.cache_gb)


@dataclass(frozen=True)
class Invocation:
    """A `check` of one model or a `verify` of two, with everything that was given.

    names    what servers call the models of a `verify`
    folder   where relative paths begin
    """

    verb: Literal["check", "verify"]
    models: tuple[str, ...]
    out: str
    command: str
    settings: Settings
    effort: Effort
    recipe: str = ""
    names: tuple[str | None, ...] = ()
    access: Access = field(default_factory=Access)
    folder: str = field(default_factory=lambda: str(Path.cwd()))

    def plain(self) -> dict[str, Any]:
        """As plain data; a server's key is left out."""
        kept = replace(self, access=replace(self.access, key=None))
        found: dict[str, Any] = msgspec.to_builtins(kept, enc_hook=str)
        return found

    @staticmethod
    def read(plain: dict[str, Any], where: Path) -> Invocation:
        """From plain data; InputError for what this lichen does not understand."""
        try:
            return msgspec.convert(plain, Invocation, dec_hook=_convert)
        except msgspec.ValidationError as error:
            raise InputError(f"{where}: cannot be read: {error}.") from None


def _convert(kind: type, value: Any) -> Any:
    return kind(value)
