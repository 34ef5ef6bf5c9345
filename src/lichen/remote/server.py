"""One server in the protocol's own terms: which models it has, how it is asked, what it answers."""

from __future__ import annotations

from lichen.completion import Completion, Request
from lichen.errors import InputError, LichenError, ResourceError
from lichen.remote.access import EXAMPLE, KEY_VARIABLE, Access, Endpoint
from lichen.remote.connection import Connection, Reply
from lichen.remote.dialect import Dialect
from lichen.remote.replies import (
    BadReplyError,
    ServedModel,
    complaint,
    printable,
    read_answer,
    read_models,
)

_MODELS_BYTES = 8 << 20
#: A reply's frame, and the text of a token with every character escaped.
_FRAME_BYTES, _TOKEN_BYTES = 1 << 16, 1 << 10

_OK = 200
_DENIED = (401, 403)
_ABSENT = (404, 405, 501)
_UNACCEPTED = (400, 422)

#: Which ways to ask are tried, in this order.
_BY_MESSAGES: dict[Endpoint, tuple[bool, ...]] = {
    "auto": (False, True),
    "completions": (False,),
    "chat": (True,),
}


class Server:
    """A server's answers, checked.  Holds the name in which the first answer came."""

    def __init__(self, url: str, access: Access) -> None:
        self.url = url
        self._access = access
        self._name: str | None = None
        self._reached = False

    def connect(self) -> Connection:
        """A connection on the event loop that runs now."""
        return Connection(self.url, self._access, reached=self._reached)

    async def find(self, connection: Connection, name: str | None) -> ServedModel:
        """The model of that name, or the only one, as GET /models lists it."""
        reply = await connection.get("/models", longest=_MODELS_BYTES)
        self._reached = True
        if reply.status in _ABSENT and name is not None:
            return ServedModel(name)  # a server without a list; its answers tell who it is
        if reply.status in _ABSENT:
            raise InputError(
                f"{self.url}: there is no list of models (HTTP {reply.status} on /models); the URL "
                f"is one like {EXAMPLE}, or the model has to be named."
            )
        self._require_ok(reply, "/models")
        try:
            served = read_models(reply.body)
        except BadReplyError as error:
            raise ResourceError(f"{self.url}/models: {error}.") from error
        return self._choose(served, name)

    async def settle(self, connection: Connection, model: ServedModel) -> Dialect:
        """The first dialect that the server understands, by the smallest request of each."""
        for chat in _BY_MESSAGES[self._access.endpoint]:
            for strict in (False, True):
                dialect = Dialect(chat, strict)
                reply = await self._post(connection, dialect, model, dialect.probe())
                if reply.status == _OK:
                    self._read(reply, dialect, model, dialect.probe())
                    return dialect
                if reply.status in _ABSENT:
                    break
                if strict or reply.status not in _UNACCEPTED:
                    raise self._refused(reply, dialect.path)
        tried = " nor ".join(
            Dialect(chat, True).path for chat in _BY_MESSAGES[self._access.endpoint]
        )
        raise InputError(
            f"{self.url}: HTTP {reply.status}, the server has no {tried}"
            f"{complaint(reply.body, self._access.key)}; the URL is one like {EXAMPLE}."
        )

    async def answer(
        self, connection: Connection, dialect: Dialect, model: ServedModel, request: Request
    ) -> Completion:
        """The answer to one request."""
        reply = await self._post(connection, dialect, model, request)
        self._require_ok(reply, dialect.path)
        return self._read(reply, dialect, model, request)

    async def _post(
        self, connection: Connection, dialect: Dialect, model: ServedModel, request: Request
    ) -> Reply:
        longest = _FRAME_BYTES + _TOKEN_BYTES * request.max_tokens
        payload = dialect.payload(model.id, request)
        return await connection.post(dialect.path, payload, longest=longest)

    def _read(
        self, reply: Reply, dialect: Dialect, model: ServedModel, request: Request
    ) -> Completion:
        try:
            name, completion = read_answer(reply.body, request, chat=dialect.chat)
        except BadReplyError as error:
            raise ResourceError(f"{self.url}{dialect.path}: {error}.") from error
        self._check_name(name, model)
        return completion

    def _check_name(self, name: str | None, model: ServedModel) -> None:
        """Every answer must come from the model that was asked, and from one."""
        if name is None:  # it claims nothing, so there is nothing to hold it to
            return
        if not model.is_called(name) or self._name not in (None, name):
            before = self._name or model.id
            raise ResourceError(
                f"{self.url}: an answer came from model {printable(name)!r}, not from "
                f"{printable(before)!r}; the server does not serve what it says."
            )
        self._name = name

    def _choose(self, served: list[ServedModel], name: str | None) -> ServedModel:
        there = printable(", ".join(model.id for model in served)) or "none"
        found = [model for model in served if name in (None, model.id)]
        if name is not None and not found:
            raise InputError(f"{self.url}: there is no model {name!r}; the server has {there}.")
        if len(found) != 1:
            raise InputError(f"{self.url}: one model has to be named; the server has {there}.")
        return found[0]

    def _require_ok(self, reply: Reply, path: str) -> None:
        if reply.status != _OK:
            raise self._refused(reply, path)

    def _refused(self, reply: Reply, path: str) -> LichenError:
        """A status that no other attempt would change, in words."""
        told = f"{self.url}: HTTP {reply.status} on {path}"
        said = complaint(reply.body, self._access.key)
        if reply.status in _DENIED:
            given = "does not accept the key in" if self._access.key else "wants a key; give it in"
            return InputError(f"{told}, the server {given} ${KEY_VARIABLE}{said}.")
        if 300 <= reply.status < 400:
            target = printable(reply.headers.get("location", "another address"))
            return InputError(f"{told}, a redirection to {target}; give the address itself.")
        return InputError(f"{told}{said}.")
