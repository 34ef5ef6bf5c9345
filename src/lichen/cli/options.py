"""Options that `check` and `verify` share, and what they make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lichen.check import Effort
    from lichen.verify.examine import Settings

DEFAULT_MODEL = "qwen2.5-coder-0.5b"

_EXAMINATION = (
    click.option(
        "--tasks",
        multiple=True,
        default=("basics",),
        show_default=True,
        metavar="T",
        help="Task set: a name, a .jsonl file, with :N for N of its tasks. Repeat for several.",
    ),
    click.option(
        "--style",
        type=click.Choice(["auto", "chat", "completion"]),
        default="auto",
        show_default=True,
        help="How tasks are put; auto is chat where both models have a chat template.",
    ),
    click.option(
        "--margin",
        type=click.FloatRange(0, 100, min_open=True, max_open=True),
        default=3.0,
        show_default=True,
        help="Drop of pass@1 that is still acceptable, in points.",
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(1),
        default=256,
        show_default=True,
        help="Longest answer to a task.",
    ),
    click.option(
        "--robustness",
        type=click.IntRange(0),
        default=20,
        show_default=True,
        metavar="N",
        help="Perturb N tasks of the first set; 0 leaves robustness out.",
    ),
    click.option(
        "--perturbation",
        "perturbations",
        multiple=True,
        metavar="P",
        help="Use this perturbation. Repeat for several; all by default.",
    ),
    click.option(
        "--seed",
        "seeds",
        type=click.IntRange(0),
        multiple=True,
        default=(0,),
        show_default=True,
        help="Seed of random perturbations. Repeat for several.",
    ),
    click.option("--no-divergence", is_flag=True, help="Leave next-token divergence out."),
    click.option("--no-resources", is_flag=True, help="Leave time, memory and energy out."),
    click.option(
        "--grid", metavar="G", help="Country, or grams of CO2 per kWh; else the world average."
    ),
    click.option(
        "--allow-weak", is_flag=True, help="Go on in a sandbox that lacks system call filters."
    ),
    click.option(
        "--unsafe-no-sandbox",
        is_flag=True,
        help="Run generated programs without a sandbox; marks every result UNSAFE.",
    ),
)

_MACHINE = (
    click.option("--threads", type=click.IntRange(1), metavar="N", help="Compute threads."),
    click.option("--isa", metavar="ISA", help="Force an instruction set; see `lichen doctor`."),
)


def examination(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is tested, and how."""
    return _add(_EXAMINATION, function)


def machine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the engine may use."""
    return _add(_MACHINE, function)


def force(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --force."""
    return click.option("--force", is_flag=True, help="Replace what is in --out.")(function)


def settings(given: dict[str, Any]) -> Settings:
    """The examination's settings from the command's parameters."""
    from lichen.verify.examine import Settings

    return Settings(
        tasks=given["tasks"],
        style=given["style"],
        max_tokens=given["max_tokens"],
        margin=given["margin"] / 100,
        robustness_tasks=given["robustness"],
        perturbations=given["perturbations"] or None,
        seeds=given["seeds"],
        allow_weak_sandbox=given["allow_weak"],
        unsafe_no_sandbox=given["unsafe_no_sandbox"],
    )


def effort(given: dict[str, Any]) -> Effort:
    """The run's use of the machine from the command's parameters."""
    from lichen.check import Effort

    return Effort(
        threads=given["threads"],
        isa=given["isa"],
        resources=not given["no_resources"],
        divergence=not given["no_divergence"],
        grid=given["grid"],
    )


def default_out(*names: str) -> Path:
    """Where a run goes unless --out says otherwise: runs/NAME in the current folder."""
    plain = [Path(name).name.removesuffix(".gguf").removesuffix(".toml") for name in names]
    return Path("runs") / "-".join(name or "model" for name in plain)


def _add(options: tuple[Any, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function
