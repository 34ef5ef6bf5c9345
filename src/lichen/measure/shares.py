"""A model's speeds in terms of the machine: bytes read, operations done, shares of its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lichen.measure.bench import BATCH_PROMPT, Rate, Speeds, Workload
from lichen.measure.machine import MachineFields
from lichen.measure.reading import Reading


class Effect(msgspec.Struct, frozen=True):
    """What a rate asks of the machine each second, and its share of the nearer limit."""

    gb_s: float
    tops: float
    share: float
    bound: str  # "read" or "peak"


class Shares:
    """The speeds of one model against the limits that `measure_limits` found."""

    def __init__(self, speeds: Speeds, limits: Mapping[str, Reading], workload: Workload) -> None:
        self._speeds = speeds
        self._answer = workload.tokens
        self._read = limits["read_bandwidth"].value
        self._peak = limits["int8_peak" if speeds.integer else "bf16_peak"].value

    def prefill(self, tok_s: float, _: int) -> Effect:
        """Of reading a prompt: each token goes through every product but the output head.

        Attention is left out; weights are read once for many tokens, so reading does not bound it.
        """
        return self._effect(0.0, tok_s * self._speeds.token_operations)

    def decode(self, tok_s: float, context: int) -> Effect:
        """Of one answer behind a context: each token reads all weights, and the keys and values of
        all tokens before it.
        """
        return self._writing(tok_s, context, 1)

    def batch(self, tok_s: float, answers: int) -> Effect:
        """Of many answers: a step reads all weights once, and makes a token of each answer."""
        return self._writing(tok_s, BATCH_PROMPT, answers)

    def _writing(self, tok_s: float, context: int, answers: int) -> Effect:
        found = self._speeds
        halfway = context + self._answer / 2
        read = found.weight_bytes / answers + found.cache_bytes * halfway
        return self._effect(tok_s * read, tok_s * (found.token_operations + found.row_operations))

    def _effect(self, read: float, operations: float) -> Effect:
        shares = {"read": read / self._read, "peak": operations / self._peak}
        bound = max(shares, key=lambda name: shares[name])
        return Effect(read / 1e9, operations / 1e12, shares[bound], bound)


#: A row of the result: its kind, its size, its rate, and what that rate asks of the machine.
Row = tuple[str, int, Rate, Effect | None]


def rows(speeds: Speeds, shares: Shares) -> list[Row]:
    """Every rate with its effect, in the order they were taken."""
    tables: tuple[tuple[str, dict[int, Rate], Callable[[float, int], Effect]], ...] = (
        ("prefill", speeds.prefill, shares.prefill),
        ("decode", speeds.decode, shares.decode),
        ("batch", speeds.batch, shares.batch),
    )
    return [
        (kind, size, rate, None if rate.tok_s is None else effect(rate.tok_s, size))
        for kind, table, effect in tables
        for size, rate in table.items()
    ]


def document(
    model: Path,
    machine: MachineFields,
    limits: Mapping[str, Reading],
    size: Reading,
    speeds: Speeds,
    found: list[Row],
) -> dict[str, Any]:
    """What `lichen bench --json` prints.

    decode_read_share   bytes that the tokens of the shortest context read (weights, keys and
                        values) in a second, as a share of the machine's read bandwidth
    prefill_peak_share  operations of the fastest prompt in a second (two for a multiply-add), as a
                        share of the machine's int8 peak, or of its bf16 peak for float weights; an
                        input of 16 bits that is split into two digits of int8 costs two
                        multiply-adds
    peak_rss_ratio      peak_rss_bytes in sizes of the files on disk; cache_budget_ratio likewise,
                        what the key-value cache takes when it is full
    A rate that could not be taken is null, and ``missing`` says why.
    """
    decode = [effect for kind, _, _, effect in found if kind == "decode" and effect]
    prefill = [effect for kind, _, _, effect in found if kind == "prefill" and effect]
    return {
        "model": str(model),
        "scheme": speeds.scheme,
        "isa": machine["isa"],
        "threads": machine["threads"],
        "machine": {
            **machine,
            "read_gb_s": limits["read_bandwidth"].value / 1e9,
            "int8_tops": limits["int8_peak"].value / 1e12,
            "bf16_tflops": limits["bf16_peak"].value / 1e12,
        },
        "load_s": speeds.load_s,
        **{
            f"{kind}_tok_s": {str(n): rate.tok_s for k, n, rate, _ in found if k == kind}
            for kind in ("prefill", "decode", "batch")
        },
        "decode_read_share": decode[0].gb_s * 1e9 / limits["read_bandwidth"].value
        if decode
        else None,
        "prefill_peak_share": max((effect.share for effect in prefill), default=None),
        "peak_rss_bytes": speeds.peak_rss_bytes,
        "peak_rss_ratio": speeds.peak_rss_bytes / size.value,
        "cache_budget_ratio": speeds.cache_budget_bytes / size.value,
        "weight_bytes": speeds.weight_bytes,
        "effects": {f"{kind}_{n}": effect for kind, n, _, effect in found},
        "missing": {f"{kind}_{n}": rate.reason for kind, n, rate, _ in found if rate.reason},
        "readings": {"size": size, **limits, **_readings(speeds, found)},
        "profile": speeds.profile,
    }


def _readings(speeds: Speeds, found: list[Row]) -> dict[str, Reading]:
    """The figures with their units, sources and ranges."""
    told = {"prefill": "prompt of {} tokens", "decode": "context of {}", "batch": "{} answers"}
    readings = {
        "load_time": _measured(speeds.load_s, "s", "reading, packing and checking the weights"),
        "peak_memory": _measured(
            speeds.peak_rss_bytes, "B", "largest resident memory of the process"
        ),
    }
    for kind, size, rate, _ in found:
        if rate.tok_s is not None:
            source = f"{told[kind].format(size)}; median and range of {rate.repeats}"
            readings[f"{kind}_speed_{size}"] = _measured(
                rate.tok_s, "tok/s", source, rate.low, rate.high
            )
    return readings


def _measured(
    value: float, unit: str, source: str, low: float | None = None, high: float | None = None
) -> Reading:
    return Reading(value=value, unit=unit, kind="measured", source=source, low=low, high=high)
