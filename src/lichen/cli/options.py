"""Options that `check` and `verify` share, and what they make of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from lichen.check import Effort
    from lichen.remote import Access
    from lichen.verify.settings import Settings

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
        "--data",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder with the files of sets that do not come with lichen.",
    ),
    click.option(
        "--style",
        type=click.Choice(["auto", "chat", "chat-open", "completion"]),
        default="auto",
        show_default=True,
        help="How tasks are put; auto is chat where both models have a chat template, chat-open "
        "(no answer begun) for a server that takes messages alone.",
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
        "--samples",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        metavar="N",
        help="Answers to each task; several need a --temperature.",
    ),
    click.option(
        "--temperature",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        metavar="X",
        help="Randomness of the samples; 0 is greedy. Robustness is tested greedily.",
    ),
    click.option(
        "--top-p",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        show_default=True,
        metavar="P",
        help="Draw from the likeliest tokens that make up this share.",
    ),
    click.option(
        "--sampling-seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="N",
        help="Another seed gives other samples.",
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

_SERVERS = (
    click.option(
        "--candidate-model", metavar="NAME", help="What the candidate's server calls its model."
    ),
    click.option(
        "--reference-model", metavar="NAME", help="What the reference's server calls its model."
    ),
    click.option(
        "--endpoint",
        type=click.Choice(["auto", "completions", "chat"]),
        default="auto",
        show_default=True,
        help="How a server is asked; auto is chat where it has no /completions.",
    ),
    click.option(
        "--parallel",
        type=click.IntRange(1),
        default=4,
        show_default=True,
        metavar="N",
        help="Most requests to a server at a time.",
    ),
    click.option(
        "--request-timeout",
        type=click.FloatRange(0, min_open=True),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="For one whole answer of a server.",
    ),
)

_COMPUTE = (
    click.option("--threads", type=click.IntRange(1), metavar="N", help="Compute threads."),
    click.option("--isa", metavar="ISA", help="Force an instruction set; see `lichen doctor`."),
)

_MACHINE = (
    *_COMPUTE,
    click.option(
        "--kv-cache",
        type=click.Choice(["float32", "float16", "int8"]),
        default="float16",
        show_default=True,
        help="What keys and values are stored as; int8 takes 53% of that memory, float32 200%.",
    ),
    click.option(
        "--cache-gb",
        type=click.FloatRange(0, min_open=True),
        metavar="GB",
        help="Memory for keys and values; 1.07 GB by default.",
    ),
)

_CALIBRATION = (
    click.option(
        "--calibration",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="File or folder of text that inputs are seen on; else Python's standard library.",
    ),
    click.option(
        "--calibration-sequences",
        type=click.IntRange(1),
        metavar="N",
        help="How many pieces of it; else as the recipe says.",
    ),
    click.option(
        "--calibration-length",
        type=click.IntRange(2),
        metavar="N",
        help="Tokens of a piece; else as the recipe says.",
    ),
)


def examination(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is tested, and how."""
    return _add(_EXAMINATION, function)


def servers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a model behind a URL is asked."""
    return _add(_SERVERS, function)


def calibration(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what text a recipe sees inputs on."""
    return _add(_CALIBRATION, function)


def compute(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --threads and --isa."""
    return _add(_COMPUTE, function)


def machine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the engine may use."""
    return _add(_MACHINE, function)


def force(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --force."""
    return click.option("--force", is_flag=True, help="Replace what is in --out.")(function)


def resume(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --resume."""
    return click.option(
        "--resume",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Go on with the run in this folder, with everything as it was given then.",
    )(function)


def refuse_others(chosen: str, *allowed: str) -> None:
    """Refuse what was typed beside an option that takes the rest from a run's folder."""
    context = click.get_current_context()
    others = [
        param.opts[-1] if param.opts[-1].startswith("-") else param.human_readable_name
        for param in context.command.params
        if param.name not in (chosen, *allowed, "json", "debug")
        and context.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    ]
    if others:
        raise click.UsageError(
            f"--{chosen} takes everything from the run's folder; leave out {', '.join(others)}."
        )


def settings(given: dict[str, Any]) -> Settings:
    """The examination's settings from the command's parameters."""
    from lichen.verify.settings import Settings

    return Settings(
        tasks=given["tasks"],
        data=given["data"],
        style=given["style"],
        max_tokens=given["max_tokens"],
        samples=given["samples"],
        temperature=given["temperature"],
        top_p=given["top_p"],
        sampling_seed=given["sampling_seed"],
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
        kv_cache=given["kv_cache"],
        cache_gb=given["cache_gb"],
        resources=not given["no_resources"],
        divergence=not given["no_divergence"],
        grid=given["grid"],
    )


def access(given: dict[str, Any]) -> Access:
    """How servers are asked, from the command's parameters and the key in the environment."""
    from lichen.remote import KEY_VARIABLE, Access

    return Access(
        key=os.environ.get(KEY_VARIABLE) or None,
        parallel=given["parallel"],
        timeout_seconds=given["request_timeout"],
        endpoint=given["endpoint"],
    )


def default_out(*names: str) -> Path:
    """Where a run goes unless --out says otherwise: runs/NAME in the current folder."""
    plain = [Path(name).name.removesuffix(".gguf").removesuffix(".toml") for name in names]
    return Path("runs") / "-".join(name or "model" for name in plain)


def _add(options: tuple[Any, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function
