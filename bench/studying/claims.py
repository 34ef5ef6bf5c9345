"""What the literature says, confirmed or refuted by the figures of this study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.studying.measuring import Row


def claims(rows: Sequence[Row]) -> Iterator[str]:
    """One sentence with figures for every claim that the measured recipes can decide."""
    found = {row.name: row for row in rows if not row.fault}
    for claim in (_dynamic, _inputs, _few_bits, _size, _text, _budget, _smoothing):
        yield from claim(found)


def _have(found: dict[str, Row], *names: str) -> bool:
    return all(name in found for name in names)


def _verdict(holds: bool) -> str:
    return "Confirmed" if holds else "Refuted"


def _dynamic(found: dict[str, Row]) -> Iterator[str]:
    static = [row for name, row in found.items() if name.startswith("int8 inputs static")]
    if static and "int8 inputs per token" in found:
        best, dynamic = min(static, key=lambda r: r.kld), found["int8 inputs per token"]
        yield (
            f"{_verdict(dynamic.kld < best.kld)}: dynamic activations beat static ones: KLD"
            f" {dynamic.kld:.4f} per token, {best.kld:.4f} static at best ({best.name})."
        )


def _inputs(found: dict[str, Row]) -> Iterator[str]:
    if _have(found, "int8 inputs in floats", "int8 inputs per token"):
        weights, both = found["int8 inputs in floats"].kld, found["int8 inputs per token"].kld
        yield (
            f"{_verdict(both - weights > weights)}: activations are more sensitive than weights:"
            f" int8 weights alone {weights:.4f}, int8 inputs add {both - weights:.4f}."
        )


def _few_bits(found: dict[str, Row]) -> Iterator[str]:
    names = ("int4", "preset int4, inputs in floats")
    if _have(found, *names):
        both, weights = (found[name].kld for name in names)
        yield (
            f"{_verdict(both <= 1.05 * weights)}: beside weights of 4 bits, inputs of 8 bits cost"
            f" at most 5%: int4 {both:.4f}, the same weights with inputs in floats {weights:.4f}."
        )


def _size(found: dict[str, Row]) -> Iterator[str]:
    for kind in ("int3 gptq", "int8 static"):
        names = [f"{kind}, {n} x 512 code" for n in (4, 16, 32)]
        if _have(found, *names):
            klds = [found[name].kld for name in names]
            spread = max(klds) / min(klds) - 1
            shown = ", ".join(f"{kld:.4f}" for kld in klds)
            yield (
                f"{_verdict(spread < 0.1)}: calibration size matters little ({kind}, 4, 16, 32 x"
                f" 512 tokens): {shown}."
            )


def _text(found: dict[str, Row]) -> Iterator[str]:
    names = [f"int3 gptq, 32 x 512 {kind}" for kind in ("code", "prose")]
    if _have(found, *names):
        code, prose = (found[name].kld for name in names)
        yield (
            f"{_verdict(code < prose)}: code calibration beats prose at 3 bits: {code:.4f} against"
            f" {prose:.4f}."
        )


def _budget(found: dict[str, Row]) -> Iterator[str]:
    if _have(found, "mixed", "uniform 4.25 bits, gptq"):
        mixed, uniform = found["mixed"], found["uniform 4.25 bits, gptq"]
        yield (
            f"{_verdict(mixed.kld < uniform.kld)}: bits spent by sensitivity beat uniform ones:"
            f" {mixed.kld:.4f} at {mixed.bits:.2f}, {uniform.kld:.4f} at {uniform.bits:.2f}."
        )


def _smoothing(found: dict[str, Row]) -> Iterator[str]:
    alphas = [row for name, row in found.items() if name.startswith("alpha ")]
    if alphas and "int8 inputs per token" in found:
        best, plain = min(alphas, key=lambda r: r.kld), found["int8 inputs per token"]
        yield (
            f"{_verdict(best.kld < plain.kld)}: smoothing helps int8: {plain.kld:.4f} without,"
            f" {best.kld:.4f} with {best.name}."
        )
