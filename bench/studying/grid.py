"""The recipes of the study, in families that each answer one question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lichen.recipe import load_recipe

#: What each family is for.
FAMILIES = {
    "presets": "What do the recipes that come with lichen cost?",
    "bits": "How far down can weights go?  (groups of 32 or trellis codes, least squared error)",
    "granularity": "How many weights may share a scale?  (4 bits, absmax, inputs in floats)",
    "solvers": "What is a good way to choose the numbers worth?  (4 and 3 bits in groups of 64 with"
    " zero points, 8 bits with a scale a tensor; inputs in floats)",
    "activations": "What do inputs cost, beside weights?  (weights int8 per row; compare `int4`)",
    "smoothing": "How much range should inputs give to weights?  (int8, dynamic per token)",
    "rotation": "What is it worth to rotate the model first?  (inputs in 8 bits, per token or in"
    " the weights' groups)",
    "calibration": "How much text is enough, and must it be code?",
    "budget": "Is it worth giving layers different formats?  (compare with the preset `mixed`)",
}


@dataclass(frozen=True)
class Cell:
    """One recipe: its family, name and text; ``prose`` calibrates on prose instead of code."""

    family: str
    name: str
    text: str
    prose: bool = False


def cells(families: Iterable[str]) -> list[Cell]:
    """All recipes of these families."""
    makers = {
        "presets": _presets,
        "bits": _bits,
        "granularity": _granularity,
        "solvers": _solvers,
        "activations": _activations,
        "smoothing": _smoothing,
        "rotation": _rotation,
        "calibration": _calibration,
        "budget": _budget,
    }
    return [cell for family in families for cell in makers[family]()]


PRESETS = (
    *("int8", "int8-groups", "int8-rotated", "int8-smooth", "int8-static", "paper"),
    *("int4", "int4-gptq", "int4-gptq-rotated"),
    *("int4-groups", "int4-hqq", "int4-awq", "int4-groups-gptq"),
    *("int3-gptq", "mixed"),
)


def _presets() -> Iterator[Cell]:
    for name in PRESETS:
        yield Cell("presets", name, load_recipe(name).text)


_TRELLIS = "bits = 4, trellis = true"


def _bits() -> Iterator[Cell]:
    for bits in (8, 6, 5, 4, 3, 2):
        weights = f'bits = {bits}, granularity = "group", group_size = 32'
        yield Cell("bits", f"int{bits} g32 mse", recipe(weights, solver="mse"))
    yield Cell("bits", "int4 trellis mse", recipe(_TRELLIS, solver="mse"))


def _granularity() -> Iterator[Cell]:
    parts = ['granularity = "tensor"', 'granularity = "channel"']
    parts += [f"group_size = {size}" for size in (128, 64, 32)]
    for part in parts:
        for symmetric in ("true", "false"):
            short = part.split("= ")[1].strip('"') + (" sym" if symmetric == "true" else " zeros")
            weights = f"bits = 4, {part}, symmetric = {symmetric}"
            yield Cell("granularity", f"int4 {short}", recipe(weights))
    for part in parts[:2]:
        short = part.split('"')[1]
        yield Cell("granularity", f"int8 {short} sym", recipe(f"bits = 8, {part}"))


_GPTQ = 'solver = "gptq"'
_METHODS = {
    "absmax": "",
    "percentile": 'solver = "percentile"',
    "mse": 'solver = "mse"',
    "hqq": 'solver = "hqq"',
    "gptq": _GPTQ,
    "gptq in order of activity": f"{_GPTQ}\nsolver_options = {{ act_order = true }}",
    "gptq in order, 2 sweeps": f"{_GPTQ}\nsolver_options = {{ act_order = true, sweeps = 2 }}",
    "awq, mse": 'scaling = "awq"\nsolver = "mse"',
    "awq, gptq": f'scaling = "awq"\n{_GPTQ}',
}


def _solvers() -> Iterator[Cell]:
    for bits in (4, 3):
        for name, lines in _METHODS.items():
            weights = f"bits = {bits}, group_size = 64, symmetric = false"
            yield Cell("solvers", f"int{bits} g64 {name}", recipe(weights, lines=lines))
    for name in ("absmax", "entropy", "percentile", "mse"):
        weights = 'bits = 8, granularity = "tensor"'
        yield Cell("solvers", f"int8 tensor {name}", recipe(weights, solver=name))


_INPUTS = {
    "in floats": "",
    "per token": 'granularity = "token"',
    "per 128 columns": 'granularity = "group", group_size = 128',
    **{
        f"static {way}": f'granularity = "tensor", dynamic = false, range = "{way}"'
        for way in ("absmax", "percentile", "mse", "entropy")
    },
}


def _activations() -> Iterator[Cell]:
    for name, inputs in _INPUTS.items():
        yield Cell("activations", f"int8 inputs {name}", recipe("bits = 8", inputs=inputs))
    floats = re.sub(r"(?m)^activations = .*\n", "", load_recipe("int4").text)
    yield Cell("activations", "preset int4, inputs in floats", floats)


def _smoothing() -> Iterator[Cell]:
    for alpha in (0.3, 0.5, 0.7, 0.85):
        lines = f'scaling = "smoothquant"\nscaling_options = {{ alpha = {alpha} }}'
        text = recipe("bits = 8", inputs=_INPUTS["per token"], lines=lines)
        yield Cell("smoothing", f"alpha {alpha}", text)


def _rotation() -> Iterator[Cell]:
    token, groups = _INPUTS["per token"], 'granularity = "group", group_size = 32'
    wide = 'granularity = "group"'
    for name, weights, inputs, solver in (
        ("int8 per token", "bits = 8", token, "absmax"),
        ("int4 g32 mse", "bits = 4", groups, "mse"),
        ("int4 g32 gptq", "bits = 4", groups, "gptq"),
        ("int4 trellis mse", _TRELLIS, wide, "mse"),
        ("int4 trellis gptq", _TRELLIS, wide, "gptq"),
        ("int3 g32 gptq", "bits = 3", groups, "gptq"),
    ):
        for rotate in (False, True):
            text = recipe(weights, inputs=inputs, solver=solver, sequences=32, rotate=rotate)
            yield Cell("rotation", f"{name}, {'rotated' if rotate else 'as it is'}", text)


def _calibration() -> Iterator[Cell]:
    few = "bits = 3, group_size = 64"
    for count in (4, 16, 32):
        text = recipe(few, solver="gptq", sequences=count)
        yield Cell("calibration", f"int3 gptq, {count} x 512 code", text)
    for count in (4, 16, 32):
        static = recipe("bits = 8", inputs=_INPUTS["static mse"], sequences=count)
        yield Cell("calibration", f"int8 static, {count} x 512 code", static)
    prose = recipe(few, solver="gptq", sequences=32)
    yield Cell("calibration", "int3 gptq, 32 x 512 prose", prose, prose=True)


def _budget() -> Iterator[Cell]:
    weights, inputs = "bits = 4, group_size = 64", 'granularity = "group"'
    for solver in ("mse", "gptq"):
        text = recipe(weights, inputs=inputs, solver=solver, sequences=32)
        yield Cell("budget", f"uniform 4.25 bits, {solver}", text)


def recipe(
    weights: str,
    *,
    inputs: str = "",
    solver: str = "",
    lines: str = "",
    keep: str = "lm_head",
    sequences: int | None = None,
    rotate: bool = False,
) -> str:
    """The TOML of a recipe for all layers but the head; ``sequences`` of 512 tokens to see."""
    text = "rotate = true\n" if rotate else ""
    text += "" if sequences is None else f"[calibration]\nsequences = {sequences}\n"
    text += f'[[layers]]\nmatch = "{keep}"\nkeep = true\n\n'
    text += f'[[layers]]\nmatch = "*"\nweights = {{ {weights} }}\n'
    if inputs:
        text += f"activations = {{ bits = 8, {inputs} }}\n"
    if solver:
        text += f'solver = "{solver}"\n'
    return text + (f"{lines}\n" if lines else "")
