"""Values between the program and its tests: typed, tagged JSON that builds exact builtin types.

None, bool, str, float and small int are themselves; a list is a JSON array; everything else is an
object with one key, its tag.  Mutable containers are numbered in the order in which they are
met, on both sides alike, and ``{"@": n}`` means number n again: identity, sharing and cycles
survive, and a function that changes its arguments changes the caller's objects.

The decoder makes only types named here.  Whatever a hostile encoder sends, the result is plain
data or `CodecError`; an object with a forged ``__eq__`` cannot be expressed.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import NoneType
from typing import Any

Node = Any  # what json.dumps takes and json.loads gives

_PLAIN = frozenset({NoneType, bool, str, float})
_SMALL = 1 << 63
# Not object or type: tests that call them would get what cannot cross, and tests that use such
# a thing share a process with the program.
TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        NoneType, bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset,
        dict, range, Counter, OrderedDict, defaultdict, deque, Decimal, Fraction,
        date, datetime, time, timedelta,
    )
}  # fmt: skip


class UnsupportedError(Exception):
    """A value of a type that cannot cross; the message names the type."""


class CodecError(Exception):
    """What arrived is not what an encoder writes."""


def _isoformat(value: datetime | time) -> str:
    if value.tzinfo is not None and type(value.tzinfo) is not timezone:
        raise UnsupportedError(f"{type(value).__name__} with a {type(value.tzinfo).__name__}")
    return value.isoformat()


def _timezone(seconds: float, name: str) -> timezone:
    plain = timezone(timedelta(seconds=seconds))
    return plain if plain.tzname(None) == name else timezone(plain.utcoffset(None), name)


# Immutable types without parts: how each is written and read, under its own name.
_SCALARS: dict[type, tuple[Callable[[Any], Node], Callable[[Any], Any]]] = {
    complex: (lambda v: [v.real, v.imag], lambda n: complex(*n)),
    bytes: (lambda v: v.decode("latin-1"), lambda n: n.encode("latin-1")),
    range: (
        lambda v: [hex(v.start), hex(v.stop), hex(v.step)],
        lambda n: range(*(int(part, 16) for part in n)),
    ),
    Decimal: (str, Decimal),
    Fraction: (
        lambda v: [hex(v.numerator), hex(v.denominator)],
        lambda n: Fraction(int(n[0], 16), int(n[1], 16)),
    ),
    date: (date.isoformat, date.fromisoformat),
    datetime: (_isoformat, datetime.fromisoformat),
    time: (_isoformat, time.fromisoformat),
    timedelta: (
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda n: timedelta(n[0], n[1], n[2]),
    ),
    timezone: (
        lambda v: [v.utcoffset(None).total_seconds(), v.tzname(None)],
        lambda n: _timezone(*n),
    ),
    type(Ellipsis): (lambda v: 0, lambda n: Ellipsis),
    type(NotImplemented): (lambda v: 0, lambda n: NotImplemented),
}
_SCALAR_READERS = {kind.__name__: reader for kind, (_, reader) in _SCALARS.items()}
_FROZEN: dict[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "frozenset": frozenset}
_MAPPINGS: dict[type, str] = {dict: "dict", Counter: "Counter", OrderedDict: "OrderedDict"}
_MUTABLE: dict[str, type[Any]] = {
    "list": list,
    "dict": dict,
    "set": set,
    "bytearray": bytearray,
    "deque": deque,
    "Counter": Counter,
    "OrderedDict": OrderedDict,
    "defaultdict": defaultdict,
}
_MUTABLE_TYPES = frozenset(_MUTABLE.values())
_EMPTY: dict[object, object] = {}
_ORDERED: OrderedDict[object, object] = OrderedDict()
_VIEWS: dict[type, str] = {
    type(_EMPTY.keys()): "keys", type(_EMPTY.values()): "values",
    type(_ORDERED.keys()): "keys", type(_ORDERED.values()): "values",
}  # fmt: skip
_ITEMS = (type(_EMPTY.items()), type(_ORDERED.items()))
# A subclass (a named tuple, an IntEnum) crosses as the builtin type that it extends.
_BASES: tuple[type[Any], ...] = (
    int, float, str, bytes, list, tuple, dict, set, frozenset, bytearray,
)  # fmt: skip


def _type_name(value: object) -> str | None:
    """The name by which a type crosses, or None."""
    return next((name for name, kind in TYPES.items() if kind is value), None)


def _text(value: str) -> Node:
    """JSON would join two lone surrogates into one character, so such text is spelt in bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"str": value.encode("utf-8", "surrogatepass").decode("latin-1")}
    return value


def _pairs(mapping: dict[Any, Any]) -> list[Any]:
    return [part for pair in mapping.items() for part in pair]


class Encoder:
    """Values to nodes.  ``refer`` may turn a value of any other type into a node, or return None.

    ``strict`` refuses subclasses of builtin types, which would lose their type on the way.
    """

    def __init__(
        self,
        known: list[Any] | None = None,
        *,
        strict: bool = False,
        refer: Callable[[Any], Node | None] = lambda value: None,
    ) -> None:
        self.mutables: list[Any] = list(known or ())
        self._numbers = {id(value): n for n, value in enumerate(self.mutables)}
        self._strict = strict
        self._refer = refer

    def encode(self, value: Any) -> Node:
        """The node of ``value``; `UnsupportedError` when it has none."""
        kind = type(value)
        if kind is str and not value.isascii():
            return _text(value)
        if kind in _PLAIN:
            return value
        if kind is int:
            return value if -_SMALL < value < _SMALL else {"int": hex(value)}
        if kind in _MUTABLE_TYPES:
            number = self._numbers.get(id(value))
            if number is not None:
                return {"@": number}
            self._numbers[id(value)] = len(self.mutables)
            self.mutables.append(value)
            return self.content(value)
        if kind is tuple or kind is frozenset:
            return {kind.__name__: [self.encode(part) for part in value]}
        if kind in _SCALARS:
            return {kind.__name__: _SCALARS[kind][0](value)}
        return self._other(kind, value)

    def content(self, value: Any) -> Node:
        """The node of a mutable container's present content, whatever its number."""
        kind = type(value)
        if kind is list:
            return [self.encode(part) for part in value]
        if kind in _MAPPINGS:
            return {_MAPPINGS[kind]: [self.encode(part) for part in _pairs(value)]}
        if kind is set:
            return {"set": [self.encode(part) for part in value]}
        if kind is bytearray:
            return {"bytearray": value.decode("latin-1")}
        if kind is deque:
            return {"deque": [value.maxlen, *(self.encode(part) for part in value)]}
        return {
            "defaultdict": [
                self._factory(value.default_factory),
                *(self.encode(part) for part in _pairs(value)),
            ]
        }

    def _factory(self, factory: object) -> str | None:
        """What makes missing values, by name; one of the program's own stays behind."""
        name = _type_name(factory)
        if name is None and factory is not None and self._strict:
            raise UnsupportedError("defaultdict with a factory of its own")
        return name

    def _other(self, kind: type, value: Any) -> Node:
        if kind is type and (name := _type_name(value)) is not None:
            return {"type": name}
        if kind in _VIEWS:
            return {_VIEWS[kind]: [self.encode(part) for part in value]}
        if kind in _ITEMS:
            return {"items": [self.encode(part) for pair in value for part in pair]}
        node = self._refer(value)
        if node is not None:
            return node
        if not self._strict:
            for base in _BASES:
                if isinstance(value, base):
                    # str() of an Enum member that is a str would be its name
                    return self.encode(str.__str__(value) if base is str else base(value))
        raise UnsupportedError(kind.__name__)


class Decoder:
    """Nodes to values.  ``resolve`` gives the value of a tag that the codec does not know."""

    def __init__(
        self,
        known: list[Any] | None = None,
        *,
        resolve: Callable[[str, Node], Any] | None = None,
    ) -> None:
        self.mutables: list[Any] = list(known or ())
        self._resolve = resolve

    def decode(self, node: Node) -> Any:
        """The value of ``node``; `CodecError` when there is none."""
        try:
            return self._decode(node)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise CodecError(f"{type(error).__name__}: {error}") from None

    def update(self, number: int, node: Node) -> None:
        """Give the mutable container of that number the content of ``node``, in place."""
        try:
            target = self.mutables[number]
            tag, payload = ("list", node) if type(node) is list else _single(node)
            if type(target) is not _MUTABLE.get(tag):
                raise CodecError(f"{tag} for a {type(target).__name__}")
            target.clear()
            self._fill(target, tag, payload)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise CodecError(f"{type(error).__name__}: {error}") from None

    def _decode(self, node: Node) -> Any:
        kind: type = type(node)
        if kind in _PLAIN or kind is int:
            return node
        if kind is list:
            return self._mutable("list", node)
        tag, payload = _single(node)
        if tag == "@":
            return self.mutables[payload]
        if tag == "int":
            return int(payload, 16)
        if tag == "str":
            return str(payload.encode("latin-1").decode("utf-8", "surrogatepass"))
        if tag in _FROZEN:
            return _FROZEN[tag](self._parts(payload))
        if tag in _MUTABLE:
            return self._mutable(tag, payload)
        if tag in _SCALAR_READERS:
            return _SCALAR_READERS[tag](payload)
        if tag == "type":
            return TYPES[payload]
        if tag == "keys":
            return dict.fromkeys(self._parts(payload)).keys()
        if tag == "values":
            return dict(enumerate(self._parts(payload))).values()
        if tag == "items":
            return self._mapping(payload).items()
        if self._resolve is None:
            raise CodecError(f"unknown tag {tag!r}")
        return self._resolve(tag, payload)

    def _parts(self, payload: Node) -> list[Any]:
        if type(payload) is not list:
            raise CodecError("parts are not a list")
        return [self._decode(part) for part in payload]

    def _mapping(self, payload: Node) -> dict[Any, Any]:
        parts = self._parts(payload)
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def _mutable(self, tag: str, payload: Node) -> Any:
        made = deque(maxlen=payload[0]) if tag == "deque" else _MUTABLE[tag]()
        self.mutables.append(made)
        self._fill(made, tag, payload)
        return made

    def _fill(self, target: Any, tag: str, payload: Node) -> None:
        if tag in ("list", "set"):
            parts = self._parts(payload)
            target.extend(parts) if tag == "list" else target.update(parts)
        elif tag == "bytearray":
            target.extend(payload.encode("latin-1"))
        elif tag == "deque":
            target.extend(self._parts(payload[1:]))
        elif tag == "defaultdict":
            target.default_factory = None if payload[0] is None else TYPES[payload[0]]
            target.update(self._mapping(payload[1:]))
        else:
            target.update(self._mapping(payload))


def _single(node: Node) -> tuple[str, Node]:
    if type(node) is not dict or len(node) != 1:
        raise CodecError("not a tagged value")
    return next(iter(node.items()))


# Made once: json.dumps would make an encoder for each call.
_write = json.JSONEncoder(separators=(",", ":")).encode
_read = json.JSONDecoder().decode


def dumps(node: Node) -> bytes:
    """A node as bytes (ASCII; lone surrogates and NaN survive)."""
    return _write(node).encode("ascii")


def loads(data: bytes) -> Node:
    """Bytes as a node; `CodecError` when they are not JSON."""
    try:
        return _read(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not JSON: {error}") from None
