"""A model behind a URL: asked who it is, then for text, and held to what it said."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from queue import SimpleQueue

import msgspec

from lichen.completion import Completion, Request
from lichen.errors import InputError, ResourceError
from lichen.remote.access import Access, address
from lichen.remote.background import complete, event_loop
from lichen.remote.dialect import Dialect, messages_as_prompt
from lichen.remote.replies import ServedModel, printable
from lichen.remote.server import Server
from lichen.verify.model import ModelFacts

#: Chat messages, each {"role", "content"}, to the text of a model's own template.
Template = Callable[[list[dict[str, str]]], str]
#: Takes the number of a request with its answer, or what kept the rest from being answered.
Give = Callable[[tuple[int, Completion] | Exception], None]


class RemoteModel:
    """A `lichen.verify.ModelSource`, and the model in one.

    url       of an OpenAI-compatible server, with its "/v1"
    model     the name that the server knows it by; None for the only one that it has
    template  a chat template for it, since a server does not show its own; prompts are final text

    Asked at once who it is: InputError for what is not served there, ResourceError for a server
    that cannot be reached or does not keep to the protocol.  It is known by its URL and by what
    the server says of it, no more: another model in the same words would pass for the same.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        access: Access | None = None,
        template: Template | None = None,
    ) -> None:
        self._access = access or Access()
        self._server = Server(address(url), self._access)
        self._template = template
        self._model, self._dialect = complete(self._meet(model))

    @property
    def path(self) -> str:
        """Its URL."""
        return self._server.url

    @property
    def digest(self) -> str:
        """SHA-256 of its URL and of what the server says of it: nobody here sees its weights."""
        known = ["remote", self.path, self._model.identity()]
        return hashlib.sha256(msgspec.json.encode(known, order="sorted")).hexdigest()

    @property
    def by_messages(self) -> bool:
        """Whether it takes messages alone: no text of ours can then begin its answer."""
        return self._dialect.chat

    @property
    def has_chat(self) -> bool:
        """Whether there is a way to put a conversation to it."""
        return self.by_messages or self._template is not None

    def chat(self, messages: list[dict[str, str]]) -> str:
        """The prompt of a conversation: the messages themselves where the server takes those."""
        if self.by_messages:
            return messages_as_prompt(messages)
        if self._template is None:
            raise InputError(f"{self.path}: there is no chat template for this model.")
        return self._template(messages)

    def refusal(self, prompt: str) -> str | None:
        """None: how many tokens a prompt has, only the server knows."""
        return None

    @property
    def facts(self) -> ModelFacts:
        """What the server says of it; None, or "unknown", for what it does not."""
        name = printable(self._model.id)
        where, short = f"{name} behind {self.path}", name
        if name.startswith("/"):  # llama.cpp's server calls a model by its file
            short = PurePosixPath(name).name
        manner = f"asked by {self._dialect.path}"
        if self._template is not None and not self.by_messages:
            manner += " in the chat template of the other model"
        if self._dialect.strict:
            manner += ", with whatever repetition penalty the server applies"
        return ModelFacts(
            name=short,
            description=f"{where}, {manner}; its files were not seen",
            scheme="unknown",
            parameters=self._model.parameters,
            bits_per_weight=self._model.bits_per_weight,
        )

    @contextmanager
    def open(self) -> Iterator[RemoteModel]:
        """The model itself; at the end the server is asked whether it still says the same of it."""
        yield self
        if complete(self._identify()).identity() != self._model.identity():
            raise ResourceError(
                f"{self.path}: the server now says other things of {printable(self._model.id)} "
                "than at first, so its answers may be of two models; start again with another "
                "--out."
            )

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """Answer all requests, some at a time; (number, completion) of each as it comes."""
        given: SimpleQueue[tuple[int, Completion] | Exception] = SimpleQueue()
        with event_loop() as loop:
            work = asyncio.run_coroutine_threadsafe(self._answer_all(requests, given.put), loop)
            for _ in requests:
                item = given.get()
                if isinstance(item, Exception):
                    raise item
                yield item
            work.result()

    async def _answer_all(self, requests: Sequence[Request], give: Give) -> None:
        waiting = iter(enumerate(requests))
        try:
            async with self._server.connect() as connection, asyncio.TaskGroup() as group:

                async def work() -> None:
                    for number, request in waiting:
                        answer = self._server.answer(
                            connection, self._dialect, self._model, request
                        )
                        give((number, await answer))

                for _ in range(min(self._access.parallel, len(requests))):
                    group.create_task(work())
        except* Exception as errors:
            give(_first(errors))

    async def _meet(self, name: str | None) -> tuple[ServedModel, Dialect]:
        async with self._server.connect() as connection:
            model = await self._server.find(connection, name)
            return model, await self._server.settle(connection, model)

    async def _identify(self) -> ServedModel:
        async with self._server.connect() as connection:
            return await self._server.find(connection, self._model.id)


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """One error of several that came together: one is told."""
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
