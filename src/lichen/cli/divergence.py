"""``lichen divergence``: how far two models' next-token distributions lie apart."""

from __future__ import annotations

from pathlib import Path

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.output import emit, emit_json


@shared.subcommand("lichen divergence qwen2.5-coder-0.5b model-int8")
@click.argument("reference")
@click.argument("candidate")
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    help="File or folder to compare on; else modules of Python's standard library.",
)
@click.option(
    "--reference-kv-cache",
    type=click.Choice(["float32", "float16", "int8"]),
    help="For the reference alone: one model twice shows what --kv-cache costs.",
)
@options.machine
def command(
    reference: str,
    candidate: str,
    text: Path | None,
    reference_kv_cache: str | None,
    threads: int | None,
    isa: str | None,
    kv_cache: str,
    cache_gb: float | None,
) -> None:
    """Compare next-token distributions on code.

    KL divergence, agreement of the likeliest token, and the difference of NLL."""
    from lichen import code_text
    from lichen.one_model import load
    from lichen.verify import divergence as next_tokens

    chosen = None if text is None else code_text.from_path(text)
    progress = shared.progress()
    stored = (reference_kv_cache or kv_cache, kv_cache)
    models = [
        load(m, threads=threads, isa=isa, kv_cache=kind, cache_gb=cache_gb)
        for m, kind in zip((reference, candidate), stored, strict=True)
    ]
    with progress.step("Divergence") as update:
        found = next_tokens.measure(models[0], models[1], chosen, progress=update)
    if shared.wants_json():
        emit_json(found)
        return
    for line in (
        f"text             {found.text}",
        f"tokens           {found.tokens}",
        f"KL divergence    mean {found.kld_mean:.5f} (standard error {found.kld_se:.5f}), "
        f"99th percentile {found.kld_p99:.5f}, max {found.kld_max:.5f} nats",
        f"top-1 agreement  {found.top1_agreement:.2%}",
        f"NLL              {found.nll_reference:.4f} -> {found.nll_candidate:.4f} nats, "
        f"difference {found.nll_difference:+.5f} (standard error {found.nll_difference_se:.5f})",
    ):
        emit(line)
