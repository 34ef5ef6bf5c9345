"""One HTTP exchange with a server: bounded in time and bytes, repeated while that may help."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from itertools import count
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from lichen.errors import ResourceError
from lichen.remote.access import KEY_VARIABLE, Access, is_loopback
from lichen.remote.replies import complaint

#: The first question to a server is a small one: who does not answer it so soon hangs, or still
#: works for somebody else.
FIRST_SECONDS = 30.0
#: No pause is longer, and a server that asks for a longer one is not waited for.
LONGEST_PAUSE_SECONDS = 60.0

#: Shorter keys are not looked for in replies.
SECRET_LENGTH = 16

#: How often a request is sent in all, by what went wrong.
ATTEMPTS_BUSY = 8
ATTEMPTS_BROKEN = 4
ATTEMPTS_SILENT = 2

_BUSY = (429, 502, 503, 504, 529)
_BROKEN = (408, 425)


@dataclass(frozen=True)
class Reply:
    """What a server sent back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _PassingError(Exception):
    """Trouble that may be over in a moment."""

    def __init__(self, told: str, attempts: int, wait: float = 0.0) -> None:
        super().__init__(told)
        self.attempts = 1 if wait > LONGEST_PAUSE_SECONDS else attempts
        self.wait = wait


class Connection:
    """Exchanges with one server, on one event loop.  Use as an async context manager.

    ResourceError when no reply can be had; what a reply says is for the caller to judge.
    `reached` says that this server has answered before, so that its silence may pass.
    """

    def __init__(self, url: str, access: Access, *, reached: bool = False) -> None:
        self._url = url
        self._access = access
        self._reached = reached
        headers = {"User-Agent": "lichen", "Accept": "application/json"}
        if access.key:
            headers["Authorization"] = f"Bearer {access.key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            verify=_certificates(),
            timeout=None,  # each exchange has its deadline in `_once`
            limits=httpx2.Limits(max_connections=access.parallel),
            # Redirects are not followed: the key would go where nobody meant to send it.
            follow_redirects=False,
            mounts=dict.fromkeys(_loopback_patterns(url)),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, *, longest: int) -> Reply:
        """The reply to GET; at most `longest` bytes of it."""
        return await self._exchange("GET", path, None, longest)

    async def post(self, path: str, payload: dict[str, Any], *, longest: int) -> Reply:
        """The reply to POST of a JSON document; at most `longest` bytes of it."""
        return await self._exchange("POST", path, msgspec.json.encode(payload), longest)

    async def _exchange(self, method: str, path: str, content: bytes | None, longest: int) -> Reply:
        for attempt in count(1):
            try:
                reply = await self._once(method, path, content, longest)
                self._reached = True
                if (trouble := self._passing(reply)) is None:
                    return self._without_key(reply)
            except _PassingError as error:
                trouble = error
            if attempt >= trouble.attempts:
                tries = f", {attempt} times" if attempt > 1 else ""
                raise ResourceError(f"{self._url}: {trouble}{tries}.") from trouble
            await asyncio.sleep(max(trouble.wait, self._pause(attempt)))
        raise AssertionError("count() has no end")

    async def _once(self, method: str, path: str, content: bytes | None, longest: int) -> Reply:
        seconds = self._access.timeout_seconds
        if not self._reached:
            seconds = min(seconds, FIRST_SECONDS)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(
                    method, self._url + path, content=content, headers=headers
                ) as reply,
            ):
                body = await _read(reply, longest)
                return Reply(reply.status_code, dict(reply.headers), body)
        except TimeoutError as error:
            attempts = ATTEMPTS_SILENT if self._reached else 1
            raise _PassingError(f"no whole reply to {path} in {seconds:g} s", attempts) from error
        except _TooLongError as error:
            raise ResourceError(
                f"{self._url}: the reply to {path} is longer than {longest:,} bytes."
            ) from error
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        except (httpx2.DecodingError, httpx2.InvalidURL) as error:
            raise ResourceError(f"{self._url}: {_brief(error)} ({path}).") from error

    def _passing(self, reply: Reply) -> _PassingError | None:
        """Why a status is worth another attempt; None where it is not."""
        if reply.status in _BUSY:
            attempts = ATTEMPTS_BUSY
        elif reply.status in _BROKEN or (reply.status >= 500 and reply.status != 501):
            attempts = ATTEMPTS_BROKEN
        else:
            return None
        told = f"HTTP {reply.status}{complaint(reply.body, self._access.key)}"
        wait = _retry_after(reply.headers.get("retry-after", ""))
        if wait > LONGEST_PAUSE_SECONDS:
            told += f"; it asks to be left alone for {wait:.0f} s"
        return _PassingError(told, attempts, wait)

    def _without_key(self, reply: Reply) -> Reply:
        """The reply, which goes into records; one that holds the key must not.

        Short "keys" are no secrets ("EMPTY", for servers that check none), and may be words.
        """
        key = self._access.key or ""
        if reply.status == 200 and len(key) >= SECRET_LENGTH and key.encode() in reply.body:
            raise ResourceError(f"{self._url}: the server sends the key in ${KEY_VARIABLE} back.")
        return reply

    def _broken(self, error: httpx2.TransportError) -> Exception:
        """A broken connection in words; one that never stood is not tried again."""
        attempts = ATTEMPTS_BROKEN if self._reached else 1
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLError):
                reason = getattr(cause, "verify_message", "") or cause.reason or str(cause)
                return ResourceError(f"{self._url}: no TLS connection is possible ({reason}).")
            if isinstance(cause, socket.gaierror):
                return _PassingError("its host name is unknown; correct the URL", attempts)
            if isinstance(cause, ConnectionRefusedError):
                return _PassingError(
                    "nothing listens there (connection refused); start the server, or correct the "
                    "URL",
                    attempts,
                )
        told = f"the connection broke off ({_brief(error)})"
        return _PassingError(told, ATTEMPTS_BROKEN)

    def _pause(self, attempt: int) -> float:
        """Twice as long each time, with a random share, lest all come back at once."""
        longest = min(self._access.pause_seconds * 2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS / 2)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret depends on it


@cache
def _certificates() -> ssl.SSLContext:
    """Whom the system trusts; read once, since that takes longer than a small exchange."""
    return httpx2.create_ssl_context()


class _TooLongError(Exception):
    pass


async def _read(reply: httpx2.Response, longest: int) -> bytes:
    body = bytearray()
    async for piece in reply.aiter_bytes(1 << 16):
        body += piece
        if len(body) > longest:
            raise _TooLongError
    return bytes(body)


def _loopback_patterns(url: str) -> list[str]:
    """What the client must reach without the environment's proxy."""
    return [f"all://{httpx2.URL(url).netloc.decode()}"] if is_loopback(url) else []


def _retry_after(text: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 where it says nothing."""
    if text.isdecimal():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _brief(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
