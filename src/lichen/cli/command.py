"""What all subcommands share: --json, --debug, the cache folder, suggestions for slips."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from lichen.cli.progress import TerminalProgress

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass
class Options:
    """What holds for the whole command line."""

    debug: bool = False
    json: bool = False


class Subcommands(click.Group):
    """A group that suggests the subcommand that was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; click's own way, but for the message."""
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        names = self.list_commands(ctx)
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}."
        raise click.UsageError(f"no command {name!r}; {hint}", ctx)


def subcommand(
    example: str, group: click.Group | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a click command with --json, --debug and an example in its help.

    A command of a `group` goes by its function's name, other commands by that of their file.
    """

    def make(function: Callable[..., Any]) -> click.Command:
        owner = function.__name__ if group is not None else function.__module__
        made = click.command(
            owner.rpartition(".")[2].rstrip("_"),
            context_settings=CONTEXT,
            epilog=f"Example: {example}",
        )(function)
        assert isinstance(made, click.Command)
        made.params += [
            _flag("json", "One JSON document on stdout; messages on stderr."),
            _flag("debug", "Show the traceback of an error."),
        ]
        if group is not None:
            group.add_command(made)
        return made

    return make


def command_group(function: Callable[..., Any]) -> click.Group:
    """Make a group of subcommands that suggests the one that was meant."""
    name = function.__module__.rpartition(".")[2]
    made = click.group(name, cls=Subcommands, context_settings=CONTEXT)(function)
    assert isinstance(made, click.Group)
    return made


def _flag(name: str, help: str) -> click.Option:
    """An option that is remembered in `Options`, not given to the command."""

    def remember(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        options = context.find_object(Options)
        if wanted and options is not None:
            setattr(options, name, True)

    return click.Option(
        [f"--{name}"],
        is_flag=True,
        expose_value=False,
        callback=remember,
        help=help,
        is_eager=True,
    )


def wants_json() -> bool:
    """Whether --json was given."""
    options = click.get_current_context().find_object(Options)
    return options is not None and options.json


def progress() -> TerminalProgress:
    """Progress on stderr: bars on a terminal, now and then a line elsewhere."""
    return TerminalProgress()


def command_line() -> str:
    """The command as it was typed, for the record."""
    return shlex.join(["lichen", *sys.argv[1:]])


def fetch(name: str, progress: TerminalProgress) -> Path:
    """Fetch a model by its name, unless it is here already."""
    from lichen.checkpoint import registry

    cache = registry.default_cache()
    with progress.step(f"Fetching {name}") as update:
        return registry.fetch(name, cache=cache, progress=update, notice=progress.say)


def is_known(name: str) -> bool:
    """Whether `lichen models list` has it; what else looks like a hub id may be a mistyped path."""
    from lichen.checkpoint.registry import known_models

    return name in {model.name for model in known_models()}


def model_path(name: str) -> Path | None:
    """Where a model that goes by a name is, or None while it is not here."""
    from lichen.checkpoint.registry import default_cache, resolve
    from lichen.errors import InputError

    try:
        return resolve(name, cache=default_cache())
    except InputError:
        return None
