"""``lichen``: finds the subcommand, and turns what goes wrong into a line and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from lichen.cli.command import CONTEXT, Options, Subcommands
from lichen.cli.exits import FAILED, USAGE, explain
from lichen.cli.output import close_stdout, flush_stdout, tell

#: Each is `lichen.cli.<name>.command`, imported when it is asked for.
COMMANDS = (
    "check",
    "quantize",
    "recipes",
    "export",
    "generate",
    "verify",
    "divergence",
    "bench",
    "tasks",
    "models",
    "report",
    "doctor",
)


class _LazyCommands(Subcommands):
    """Subcommands that are imported by name, so that a command pays for itself only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = import_module(f"lichen.cli.{cmd_name}").command
        assert isinstance(found, click.Command)
        return found


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from lichen import __version__

        click.echo(f"lichen {__version__}")
        context.exit(0)


@click.group(
    cls=_LazyCommands,
    context_settings=CONTEXT,
    epilog="Example: lichen check qwen2.5-coder-0.5b --out run",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Quantize a code model, run it fast on a CPU, and prove that it still does the work.

    \b
    Exit codes: 0 done or accepted, 1 rejected, 2 wrong usage or input, 3 undecided,
    4 a failure at run time (disk, memory, a worker), 130 interrupted.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code; errors are told on stderr."""
    options = Options()
    try:
        code = cli.main(list(arguments), prog_name="lichen", standalone_mode=False, obj=options)
        flush_stdout()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        tell(error.format_message())  # it is the help, not a line about a fault
        return USAGE
    except (Exception, KeyboardInterrupt) as error:
        if options.debug:
            traceback.print_exc()
        failure = explain(error)
        for line in failure.lines:
            tell(f"lichen: {line}")
        close_stdout()
        return failure.code
    except SystemExit:  # what click makes of a pipe that nobody reads any more
        close_stdout()
        return FAILED
