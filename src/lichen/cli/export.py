"""``lichen export``: a model in, one file in another project's format out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lichen.cli import command as shared
from lichen.cli.output import emit, emit_json

if TYPE_CHECKING:
    from lichen.export import ExportedTensor, ExportReport


def _known_type(context: click.Context, parameter: click.Parameter, given: str) -> str:
    from lichen.export.types import ASKED

    known = {name.lower(): name for name in ASKED}
    if given.lower() not in known:
        raise click.BadParameter(f"{given!r} is none of {', '.join(ASKED)}.", context, parameter)
    return known[given.lower()]


@shared.subcommand("lichen export qwen2.5-coder-0.5b --type Q8_0 --out qwen.gguf")
@click.argument("model")
@click.option(
    "--format",
    "form",
    type=click.Choice(["gguf"]),
    default="gguf",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--type",
    "kind",
    default="auto",
    show_default=True,
    metavar="T",
    callback=_known_type,
    help="Type of the weights: F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, "
    "Q5_K_M, Q4_K_M; auto keeps them as they are.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--force", is_flag=True, help="Replace --out where it is there already.")
def command(model: str, form: str, kind: str, out: Path, force: bool) -> None:
    """Write MODEL as one GGUF file, which llama.cpp runs.

    MODEL is a folder, quantized or not, a .gguf file or a name. Quantized weights keep their codes
    where the type has them; other weights are rounded for the least squared error."""
    from lichen.checkpoint.registry import default_cache, resolve
    from lichen.export import export

    path = resolve(model, cache=default_cache())
    with shared.progress().step(f"Exporting to {kind}") as update:
        report = export(path, out, type=kind, force=force, progress=update)
    if shared.wants_json():
        emit_json({"format": form, "bits_per_weight": report.bits_per_weight} | vars(report))
        return
    for line in _told(report):
        emit(line)


def _told(report: ExportReport) -> Iterator[str]:
    """The report in a few lines."""
    yield (
        f"{report.path}: {report.source_bytes / 1e6:.0f} MB -> {report.bytes / 1e6:.0f} MB, "
        f"{report.bits_per_weight:.2f} bits per weight"
    )
    yield _counted(report.tensors)
    for (wanted, kind), count in report.fallbacks.items():
        yield f"{count} tensors: {kind}, for blocks of {wanted} do not divide their rows"
    codes = [t for t in report.tensors if t.how == "codes"]
    if codes:
        cost = max(t.error for t in codes)
        price = f"rounded to float16, error {cost:.1e} at most" if cost else "exactly"
        yield f"{len(codes)} tensors keep their codes; their scales {price}"
    rounded = [t for t in report.tensors if t.how == "rounded" and t.error]
    if rounded:
        yield f"{len(rounded)} tensors are rounded, {_errors(rounded)}"
    again = [t for t in report.tensors if t.how == "again"]
    if again:
        kinds = ", ".join(sorted({f"{t.source} to {t.type}" for t in again}))
        yield f"{len(again)} tensors are rounded a second time ({kinds}), {_errors(again)}"


def _counted(tensors: list[ExportedTensor]) -> str:
    counts = Counter(t.type for t in tensors)
    return "tensors: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def _errors(tensors: list[ExportedTensor]) -> str:
    errors = [t.error for t in tensors]
    return f"relative squared error {min(errors):.1e} to {max(errors):.1e}"
