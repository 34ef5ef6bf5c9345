"""``lichen bench``: how fast one model runs, and how near that is to what this machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.output import emit, emit_columns, emit_json

if TYPE_CHECKING:
    from lichen.measure import Reading
    from lichen.measure.bench import Speeds
    from lichen.measure.shares import Row


class Sizes(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them, each at least so large."""

    name = "sizes"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers, in ascending order, each once."""
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(word.strip().isdecimal() and int(word) >= self._least for word in words):
            self.fail(f"{value!r} is not a list like 1,8,32 of numbers from {self._least} on.")
        return tuple(sorted({int(word) for word in words}))


@shared.subcommand("lichen bench qwen2.5-coder-0.5b --batch 1,8,32 --json")
@click.argument("model")
@click.option(
    "--prompt-tokens",
    type=Sizes(1),
    default="128,512,2048",
    show_default=True,
    metavar="N,...",
    help="Lengths of prompts to read.",
)
@click.option(
    "--context",
    type=Sizes(0),
    default="0,1024,4096",
    show_default=True,
    metavar="N,...",
    help="Lengths of contexts to write behind; 0,4096,8192,16384 shows how they slow it down.",
)
@click.option(
    "--batch",
    type=Sizes(1),
    default="1,8,32",
    show_default=True,
    metavar="N,...",
    help="Numbers of answers to write at once.",
)
@click.option(
    "--gen-tokens",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="N",
    help="Tokens of each answer.",
)
@click.option("--quick", is_flag=True, help="Take every figure once.")
@click.option("--profile", is_flag=True, help="Also show where the time goes, by operation.")
@options.machine
def command(
    model: str,
    prompt_tokens: tuple[int, ...],
    context: tuple[int, ...],
    batch: tuple[int, ...],
    gen_tokens: int,
    quick: bool,
    profile: bool,
    threads: int | None,
    isa: str | None,
    kv_cache: str,
    cache_gb: float | None,
) -> None:
    """Measure this machine, then how fast a model loads, reads and writes on it.

    MODEL runs in a process of its own.  Rates are medians, in tokens a second; GB/s and TOPS are
    what they ask of the machine, with their share of what it was measured to be able to do: of its
    int8 peak where integers are multiplied.  An input that is multiplied in two parts, as a GGUF
    model's 16 bits in two of 8 are, counts twice."""
    from lichen import measure
    from lichen.checkpoint.registry import default_cache, resolve
    from lichen.engine.machine import choose_isa, choose_threads
    from lichen.loading import cache_bytes
    from lichen.measure.shares import Shares, document, rows

    budget = cache_bytes(cache_gb)  # refused before anything is measured
    path = resolve(model, cache=default_cache())
    machine = measure.machine(threads=choose_threads(threads), isa=choose_isa(isa))
    workload = measure.Workload(
        prompt_tokens, context, batch, gen_tokens, 1 if quick else 3, profile
    )
    size = measure.size_on_disk(path)
    with shared.progress().step("Measuring this machine") as update:
        limits = measure.measure_limits(
            threads=machine["threads"], isa=machine["isa"], quick=quick, update=update
        )
    with shared.progress().step(f"Measuring {model}") as update:
        speeds = measure.measure_speeds(
            path,
            workload,
            threads=machine["threads"],
            isa=machine["isa"],
            kv_cache=kv_cache,
            cache_bytes=budget,
            update=update,
        )
    found = rows(speeds, Shares(speeds, limits, workload))
    if shared.wants_json():
        emit_json(document(path, machine, limits, size, speeds, found))
        return
    emit(f"{machine['processor']}, {machine['threads']} threads, {machine['isa']}")
    _show_limits(limits)
    _show_model(speeds, size)
    _show_rates(found)
    if speeds.profile is not None:
        _show_profile(speeds.profile)


def _show_limits(limits: dict[str, Reading]) -> None:
    from lichen.report import words

    told = {
        "read_bandwidth": ("memory read", 1e9, "GB/s"),
        "int8_peak": ("int8 peak", 1e12, "TOPS"),
        "bf16_peak": ("bf16 peak", 1e12, "TFLOPS"),
    }
    rows = []
    for name, (title, factor, unit) in told.items():
        value, low, high = (
            words.number((x or 0) / factor)
            for x in (limits[name].value, limits[name].low, limits[name].high)
        )
        rows.append((title, f"{value} {unit}", f"{low} to {high}", limits[name].source))
    emit_columns(rows)


def _show_model(speeds: Speeds, size: Reading) -> None:
    from lichen.report import words

    emit("")
    emit(
        f"{speeds.scheme}: {words.reading(size)} on disk, loaded in"
        f" {words.quantity(speeds.load_s, 's')}, peak memory"
        f" {words.quantity(speeds.peak_rss_bytes, 'B')}:"
        f" {words.number(speeds.peak_rss_bytes / size.value)} times the files"
        f" (a full cache takes {words.number(speeds.cache_budget_bytes / size.value)})"
    )


def _show_rates(found: list[Row]) -> None:
    from lichen.report import words

    titles = {"prefill": "read {} tokens", "decode": "write behind {}"}
    head = ("", "tok/s", "range", "GB/s", "TOPS", "of the limit")
    table: list[tuple[str, ...]] = [head]
    for kind, size, rate, effect in found:
        title = titles[kind].format(size) if kind != "batch" else words.counted(size, "answer")
        if rate.tok_s is None or effect is None:
            table.append((title, "-", f"{rate.reason}", "", "", ""))
            continue
        table.append(
            (
                title,
                words.number(rate.tok_s),
                f"{words.number(rate.low or 0)} to {words.number(rate.high or 0)}",
                words.number(effect.gb_s) if effect.gb_s else "",
                words.number(effect.tops),
                f"{words.percent(effect.share)} {effect.bound}",
            )
        )
    emit_columns(table)


def _show_profile(profile: dict[str, dict[str, float]]) -> None:
    """The share of all threads' time that each operation takes."""
    from lichen.report import words

    for kind, spent in profile.items():
        whole = sum(spent.values()) or 1.0
        emit("")
        emit_columns(
            [(kind, "a token, all threads", "share")]
            + [
                (name, words.quantity(seconds, "s"), words.percent(seconds / whole))
                for name, seconds in spent.items()
            ]
        )
