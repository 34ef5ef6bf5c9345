from __future__ import annotations

import math
import os
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lichen.sandbox import rehearsal, wire
from lichen.sandbox.codec import (
    CodecError,
    Decoder,
    Encoder,
    UnsupportedError,
    dumps,
    loads,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**30, max_value=10**60).map(lambda n: -n),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.text(st.characters(categories=["Cs"]), max_size=3),
    st.binary(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
    st.sampled_from([..., NotImplemented, int, list, Counter]),
)
VALUES = st.recursive(
    SCALARS,
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.tuples(parts, parts),
        st.dictionaries(SCALARS, parts, max_size=4),
        st.sets(SCALARS, max_size=4),
        st.frozensets(SCALARS, max_size=4),
        st.dictionaries(SCALARS, parts, max_size=3).map(OrderedDict),
        st.lists(SCALARS, max_size=4).map(Counter),
        st.lists(parts, max_size=4).map(lambda p: deque(p, maxlen=4)),
        st.binary().map(bytearray),
    ),
    max_leaves=12,
)


def there_and_back(value: Any) -> Any:
    return Decoder().decode(loads(dumps(Encoder(strict=True).encode(value))))


def same(a: Any, b: Any) -> bool:
    """Equal, with exactly equal types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k, m) and same(v, w) for (k, v), (m, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@given(VALUES)
@settings(max_examples=150)
def test_values_survive_with_their_types(value: Any) -> None:
    assert same(there_and_back(value), value)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=4)
    | st.dictionaries(
        st.sampled_from(["@", "int", "tuple", "set", "dict", "range", "Decimal", "datetime", "type",
                         "deque", "keys", "items", "defaultdict", "Counter", "function", "yours"]),
        parts,
        max_size=1,
    ),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=300)
def test_anything_that_arrives_is_plain_data_or_an_error(node: Any) -> None:
    try:
        value = Decoder([[1], {2: 3}]).decode(node)
    except CodecError:
        return
    assert type(value).__module__ in ("builtins", "collections", "datetime", "decimal")


def test_special_numbers() -> None:
    assert math.isnan(there_and_back(float("nan")))
    assert there_and_back(-math.inf) == -math.inf
    assert math.copysign(1, there_and_back(-0.0)) == -1
    assert there_and_back(Decimal("-0.10")).as_tuple() == Decimal("-0.10").as_tuple()
    assert there_and_back(Fraction(10**40, 3)) == Fraction(10**40, 3)


def test_views_and_default_dicts() -> None:
    source = {"a": [1], "b": [2]}
    assert there_and_back(source.keys()) == source.keys()
    assert list(there_and_back(source.values())) == [[1], [2]]
    assert list(there_and_back(source.items())) == list(source.items())
    assert there_and_back(defaultdict(list, a=[1]))["new"] == []


def test_views_of_ordered_dicts() -> None:
    ordered = OrderedDict(a=1, b=2)
    assert list(there_and_back(ordered.keys())) == ["a", "b"]
    assert list(there_and_back(ordered.values())) == [1, 2]
    assert list(there_and_back(ordered.items())) == [("a", 1), ("b", 2)]


def test_times() -> None:
    for value in (date(1, 1, 1), time(1, 2, 3, 4), datetime(2024, 2, 29, tzinfo=UTC)):
        assert there_and_back(value) == value
    assert there_and_back(timedelta(days=-1, microseconds=1)) == timedelta(days=-1, microseconds=1)


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=-1)), timezone(timedelta(microseconds=1), "x")], ids=repr
)
def test_time_zones(zone: timezone) -> None:
    assert repr(there_and_back(zone)) == repr(zone)


def test_sharing_and_cycles_survive() -> None:
    row: list[Any] = [1]
    row.append(row)
    first, second = there_and_back((row, row))
    assert first is second
    assert first[1] is first


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Own(list[int]):
    pass


@pytest.mark.parametrize("value", [Colour.RED, Size.LARGE, Own([1])], ids=repr)
def test_subclasses_cross_as_their_base_unless_strict(value: Any) -> None:
    decoded = Decoder().decode(Encoder().encode(value))
    assert decoded == value
    assert type(decoded) in (str, int, list)
    with pytest.raises(UnsupportedError, match=type(value).__name__):
        Encoder(strict=True).encode(value)


@pytest.mark.parametrize(
    "value", [object(), open, UnsupportedError], ids=["object", "open", "type"]
)
def test_other_types_are_named_in_the_refusal(value: Any) -> None:
    with pytest.raises(UnsupportedError):
        Encoder().encode(value)


def test_an_update_keeps_the_object() -> None:
    target = {"a": 1}
    decoder = Decoder([target])
    decoder.update(0, {"dict": ["b", {"@": 0}]})
    assert target == {"b": target}


@pytest.mark.parametrize("node", [[], {"set": []}, 3, {"dict": [1]}, {"list": 3}], ids=repr)
def test_an_update_cannot_change_the_type(node: Any) -> None:
    with pytest.raises(CodecError):
        Decoder([{"a": 1}]).update(0, node)


@pytest.mark.parametrize("name", ["object", "type"])
def test_types_whose_instances_cannot_cross_do_not_cross_either(name: str) -> None:
    for node in ({"type": name}, {"defaultdict": [name]}):
        with pytest.raises(CodecError):
            Decoder().decode(node)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000], ids=len)
def test_broken_json_is_a_codec_error(data: bytes) -> None:
    with pytest.raises(CodecError):
        loads(data)


def frames(*sent: bytes, limit: int | None = None, close: bool = True) -> wire.Frames:
    """A reader behind a channel into which ``sent`` was written."""
    read, write = os.pipe()
    for part in sent:
        os.write(write, part)
    if close:
        os.close(write)
    return wire.Frames(read, limit)


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("size", [0, 1, 2043, 2044, 2045, 5000, 60000])
def test_frames_come_out_as_they_were_sent_however_they_fall_into_reads(size: int) -> None:
    sent = [bytes([n]) * length for n, length in enumerate((size, 3, 0))]
    reader = frames(b"".join(map(framed, sent)))
    assert [reader.receive() for _ in sent] == sent
    with pytest.raises(wire.ClosedError):
        reader.receive()


def test_a_frame_that_breaks_off_or_is_announced_too_long_is_refused() -> None:
    with pytest.raises(wire.ClosedError):
        frames(framed(b"abc")[:-1]).receive()
    with pytest.raises(wire.TooLongError):
        frames((1 << 31).to_bytes(4, "big"), limit=1000, close=False).receive()


def test_the_rehearsal_notices_when_the_two_roles_do_not_understand_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("tests", "program"):  # it makes modules of these names, and removes them
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name, sys))
    rehearsal.rehearse()
    assert not {"tests", "program"} & set(sys.modules)
    monkeypatch.setattr(rehearsal, "_ANSWERS", ({"value": {"function": 0}}, {"value": 0}))
    with pytest.raises(RuntimeError, match="failed"):
        rehearsal.rehearse()
