"""Where a server is, and how it may be asked; checked before anything is sent."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from lichen.errors import InputError

#: The environment variable that a key comes from; only the command line reads it.
KEY_VARIABLE = "LICHEN_API_KEY"

EXAMPLE = "http://127.0.0.1:8080/v1"

Endpoint = Literal["auto", "completions", "chat"]


@dataclass(frozen=True)
class Access:
    """How servers are asked.

    key              sent as a bearer token; never shown, never recorded
    parallel         most requests under way at a time
    timeout_seconds  for one whole reply
    endpoint         "auto" is /completions where the server has it, else /chat/completions
    pause_seconds    before the first retry; each later pause is twice as long
    """

    key: str | None = field(default=None, repr=False)
    parallel: int = 4
    timeout_seconds: float = 120.0
    endpoint: Endpoint = "auto"
    pause_seconds: float = 0.5

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise InputError(f"{self.parallel} parallel requests; give 1 or more.")
        if not 0 < self.timeout_seconds < math.inf:
            raise InputError(
                f"the request timeout is {self.timeout_seconds}; give seconds above 0."
            )
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise InputError(
                f"${KEY_VARIABLE} is no key: it has characters that no header may have."
            )


def is_url(model: str) -> bool:
    """Whether a model is given as an address rather than a path or a name."""
    return model.lower().startswith(("http://", "https://"))


def address(url: str) -> str:
    """The URL as it is used and recorded; InputError for one with secrets, or that is none.

    What may be a secret is not repeated in the error.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isprintable() or " " in url:
        raise InputError(f"a URL that was given has no usable host or port; one like {EXAMPLE}.")
    if "@" in parts.netloc:
        raise InputError(
            f"the URL of {host} carries a user name or a password, which would be recorded; "
            f"leave it out, and give the server's key in ${KEY_VARIABLE}."
        )
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise InputError(
            f"the URL of {host} has a part behind ? or #; give the address alone, like {EXAMPLE}."
        )
    return url.rstrip("/")


def same_server(first: str, second: str) -> bool:
    """Whether two URLs lead to one server: scheme, host and port agree."""
    return _origin(urlsplit(first)) == _origin(urlsplit(second))


def is_loopback(url: str) -> bool:
    """Whether a URL stays on this machine, where no proxy has any business."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
