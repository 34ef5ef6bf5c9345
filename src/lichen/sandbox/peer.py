"""Calls between the program and its tests, over one channel of frames.

The same class serves both ends.  A frame is a call (``call`` or ``next``, by handle) or the reply
to one (``value``, ``raise``, ``stop`` or ``unsupported``); while one end waits for a reply it
answers calls, so that a test may pass a function to the program.  Functions and iterators stay
where they are and cross as handles; everything else crosses by value (`codec`).

The tests' end is ``strict``: what it sends must arrive unchanged, and what it gets can only be
plain data, a proxy, or a `Fault`, which decides the verdict even when a test swallows it.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType
from typing import Any

from . import wire
from .codec import CodecError, Decoder, Encoder, Node, UnsupportedError, dumps, loads

# Functions of these modules are passed to the program by name.
_NAMED_MODULES = ("builtins", "math", "operator")
# Raised by a program's function these would steer a test's loop (end a map() early, say).
_STEERING = (StopIteration, StopAsyncIteration, GeneratorExit)


class Fault(BaseException):
    """The conversation failed: ``kind`` says how, the message for people.

    A BaseException, so that a test's ``except Exception`` does not hide it.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Peer:
    """One end of the channel.  ``fault`` is the first `Fault`; ``raised`` what came from there."""

    def __init__(self, channel: int, *, strict: bool, limit: int | None = None) -> None:
        self.fault: Fault | None = None
        self.raised: list[BaseException] = []
        self._channel = channel
        self._strict = strict
        self._frames = wire.Frames(channel, limit)
        self._exported: list[Any] = []
        self._export_numbers: dict[int, int] = {}
        self._remotes: dict[int, tuple[int, Any]] = {}  # id -> handle there, object (kept alive)
        self._made: dict[tuple[str, int], Any] = {}  # the same handle is the same object

    def call(self, handle: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the other side's object; its value, or its exception."""
        encoder = self._encoder(strict=self._strict)
        try:
            node = encoder.encode((*args, *kwargs.values()))
        except UnsupportedError as error:
            raise self._fail("unsplit", f"an argument of type {error}") from None
        self._send({"call": handle, "args": node, "names": list(kwargs)})
        return self.reply(encoder.mutables)

    def reply(self, known: list[Any] | None = None) -> Any:
        """Wait for a reply and give its value; ``known`` are the mutable objects of the call."""
        message = self._receive()
        while "call" in message or "next" in message:
            self._answer(message)
            message = self._receive()
        if "unsupported" in message:
            raise self._fail("failed", f"returned a value of type {message['unsupported']}")
        try:
            decoder = Decoder(known, resolve=self._resolve)
            for number, node in enumerate(message.get("changed", ())):
                decoder.update(number, node)
            if "raise" in message:
                raised = self._rebuild(*message["raise"])
            elif "stop" in message:
                raised = StopIteration()
            else:
                return decoder.decode(message["value"])
        except (CodecError, TypeError, KeyError, RecursionError) as error:
            raise self._fail("failed", f"not an answer: {error}") from None
        raise raised

    def serve(self) -> None:
        """Answer calls until the other side goes away."""
        while True:
            self._answer(self._receive())

    def offer(self, value: Any) -> None:
        """Send ``value`` as if it had been asked for; a callable always goes as a handle."""
        self._send({"value": {"function": self._export(value)}})

    def offer_exception(self, error: BaseException) -> None:
        """Send an exception as if a call had raised it."""
        self._send({"raise": _raised(error)})

    def _answer(self, message: dict[str, Any]) -> None:
        if "next" in message:
            self._send(self._advance(message["next"]))
            return
        decoder = Decoder(resolve=self._resolve)
        try:
            values: tuple[Any, ...] = decoder.decode(message["args"])
            names = message["names"]
            split = len(values) - len(names)
            named = dict(zip(names, values[split:], strict=True))
            function = self._exported[message["call"]]
        except (CodecError, TypeError, ValueError, LookupError, RecursionError):
            raise self._fail("failed", "not a call") from None
        before = dumps(message["args"]) if decoder.mutables else b""
        try:
            value = function(*values[:split], **named)
        except Fault:
            raise
        except BaseException as error:
            outcome: dict[str, Any] = {"raise": _raised(error)}
        else:
            outcome = {"value": value}
        self._send(self._outcome(outcome, decoder.mutables, values, before))

    def _outcome(
        self, outcome: dict[str, Any], mutables: list[Any], values: tuple[Any, ...], before: bytes
    ) -> dict[str, Any]:
        """The reply: the value's node, and the arguments' new content if it changed."""
        try:
            reply = dict(outcome)
            encoder = self._encoder(mutables)
            if mutables and dumps(self._encoder().encode(values)) != before:
                reply["changed"] = [encoder.content(mutable) for mutable in mutables]
            if "value" in outcome:
                reply["value"] = encoder.encode(outcome["value"])
        except UnsupportedError as error:
            if self._strict:
                raise self._fail("unsplit", f"a function of theirs gives a {error}") from None
            return {"unsupported": str(error)}
        except RecursionError:
            return {"unsupported": "something nested too deeply"}
        return reply

    def _advance(self, handle: int) -> dict[str, Any]:
        try:
            iterator = self._exported[handle]
        except (TypeError, LookupError):
            raise self._fail("failed", "not a call") from None
        try:
            value = next(iterator)
        except StopIteration:
            return {"stop": 0}
        except Fault:
            raise
        except BaseException as error:
            return {"raise": _raised(error)}
        return self._outcome({"value": value}, [], (), b"")

    def _encoder(self, known: list[Any] | None = None, *, strict: bool = False) -> Encoder:
        return Encoder(known, strict=strict, refer=self._refer)

    def _refer(self, value: Any) -> Node | None:
        remote = self._remotes.get(id(value))
        if remote is not None:
            return {"yours": remote[0]}
        if hasattr(type(value), "__next__"):
            return {"iterator": self._export(value)}
        if self._strict and type(value) is BuiltinFunctionType:
            module = getattr(value, "__module__", None)
            if module in _NAMED_MODULES:
                return {"named": [module, value.__name__]}
        if callable(value) and not isinstance(value, type):
            return {"function": self._export(value)}
        return None

    def _export(self, value: Any) -> int:
        number = self._export_numbers.get(id(value))
        if number is None:
            number = self._export_numbers[id(value)] = len(self._exported)
            self._exported.append(value)
        return number

    def _resolve(self, tag: str, payload: Node) -> Any:
        if tag in ("function", "iterator"):
            if (tag, payload) not in self._made:
                make = self._proxy if tag == "function" else self._iterate
                self._made[tag, payload] = self._remember(payload, make(payload))
            return self._made[tag, payload]
        if tag == "yours":
            return self._exported[payload]
        if tag == "named" and not self._strict:
            return getattr(importlib.import_module(payload[0]), payload[1])
        raise CodecError(f"unknown tag {tag!r}")

    def _remember(self, handle: int, remote: Any) -> Any:
        self._remotes[id(remote)] = (handle, remote)
        return remote

    def _proxy(self, handle: int) -> Callable[..., Any]:
        def proxy(*args: Any, **kwargs: Any) -> Any:
            try:
                return self.call(handle, args, kwargs)
            except _STEERING as error:
                raised = RuntimeError(f"raised {type(error).__name__}")
                self.raised.append(raised)
                raise raised from None

        return proxy

    def _iterate(self, handle: int) -> Iterator[Any]:
        while True:
            self._send({"next": handle})
            try:
                value = self.reply()
            except StopIteration:
                return
            yield value

    def _rebuild(self, name: str, args: Node, text: str) -> BaseException:
        """The exception of that builtin name, with those arguments, or else with that text."""
        kind = getattr(builtins, name, None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise CodecError(f"unknown exception {name!r}")
        try:
            raised = kind(*Decoder().decode(args)) if args is not None else kind(text)
        except (TypeError, ValueError, CodecError):
            raised = RuntimeError(text)
        self.raised.append(raised)
        return raised

    def _send(self, message: dict[str, Any]) -> None:
        try:
            wire.send_frame(self._channel, dumps(message))
        except wire.ClosedError:
            raise self._fail("gone", "") from None

    def _receive(self) -> dict[str, Any]:
        try:
            message = loads(self._frames.receive())
        except wire.ClosedError:
            raise self._fail("gone", "") from None
        except wire.TooLongError as error:
            raise self._fail("output_limit", f"a value of {error} bytes") from None
        except CodecError as error:
            raise self._fail("failed", str(error)) from None
        if type(message) is not dict:
            raise self._fail("failed", "not an answer")
        return message

    def _fail(self, kind: str, detail: str) -> Fault:
        fault = Fault(kind, detail)
        if self.fault is None:
            self.fault = fault
        return fault


def _raised(error: BaseException) -> list[Any]:
    """[name of the nearest builtin exception, its arguments or None, its text]."""
    kind = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
    try:
        args = Encoder(strict=True).encode(tuple(error.args)) if kind is type(error) else None
    except (UnsupportedError, RecursionError):
        args = None
    return [kind.__name__, args, _message(error)]


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "an exception that cannot be shown"


def describe(error: BaseException) -> str:
    """The exception in words: its type's name and its message."""
    message = _message(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
