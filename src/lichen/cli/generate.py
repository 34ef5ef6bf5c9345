"""``lichen generate``: a prompt in, text out, as it comes."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lichen.cli import command as shared
from lichen.cli import options
from lichen.cli.output import close_stdout, emit_json, reason

if TYPE_CHECKING:
    from lichen.completion import Completion, Request
    from lichen.loading import LanguageModel


@shared.subcommand(
    "lichen generate qwen2.5-coder-0.5b --prompt 'def fibonacci(n):' --max-tokens 64"
)
@click.argument("model")
@click.argument("stdin", required=False, type=click.Choice(["-"]), metavar="[-]")
@click.option("--prompt", metavar="TEXT", help="The text to go on from.")
@click.option("--prompt-file", type=click.Path(path_type=Path), help="Read the prompt from a file.")
@click.option("--chat", is_flag=True, help="Put it as a user's turn in the model's template.")
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option("--temperature", type=click.FloatRange(0), default=0.0, help="0: greedy.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--stop", multiple=True, metavar="S", help="End before this text; repeatable.")
@click.option(
    "--speculate/--no-speculate",
    default=True,
    show_default=True,
    help="Guess tokens ahead where it saves time; the text is the same.",
)
@click.option("--draft", metavar="MODEL", help="Let a smaller model of the family guess.")
@options.machine
def command(
    model: str,
    stdin: str | None,
    prompt: str | None,
    prompt_file: Path | None,
    chat: bool,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    stop: tuple[str, ...],
    speculate: bool,
    draft: str | None,
    threads: int | None,
    isa: str | None,
    kv_cache: str,
    cache_gb: float | None,
) -> None:
    """Go on from a prompt.

    The prompt is --prompt TEXT, --prompt-file FILE, or - for standard input."""
    if draft is not None and not speculate:
        raise click.UsageError("--draft MODEL guesses, --no-speculate forbids it; leave one out.")
    text = _prompt(prompt, prompt_file, stdin)
    from lichen.completion import Request
    from lichen.errors import InputError
    from lichen.one_model import load

    opening = partial(
        load,
        threads=threads,
        isa=isa,
        kv_cache=kv_cache,
        cache_gb=cache_gb,
    )
    guessing = None if draft is None else opening(draft)
    loaded = opening(model, speculate=speculate, draft=guessing)
    if chat:
        if not loaded.tokenizer.has_chat:
            raise InputError(f"{model} has no chat template; leave --chat out.")
        text = loaded.tokenizer.chat([{"role": "user", "content": text}])
    request = Request(text, max_tokens, temperature, top_p, seed, stop)
    if shared.wants_json():
        _answer_json(loaded, request)
    else:
        _stream(loaded, request)


def _prompt(prompt: str | None, file: Path | None, stdin: str | None) -> str:
    given = [source for source in (prompt, file, stdin) if source is not None]
    if len(given) != 1:
        raise click.UsageError("give one of --prompt TEXT, --prompt-file FILE, or - for stdin.")
    if prompt is not None:
        return prompt
    try:
        return file.read_text(encoding="utf-8") if file is not None else sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        where = file or "stdin"
        raise click.UsageError(f"cannot read the prompt from {where}: {reason(error)}.") from None


def _stream(model: LanguageModel, request: Request) -> None:
    """Print pieces as they come; a reader that has seen enough ends it."""
    try:
        last = ""
        for piece in model.stream(request):
            sys.stdout.write(piece)
            sys.stdout.flush()
            last = piece or last
        if not last.endswith("\n"):
            print(flush=True)
    except BrokenPipeError:
        close_stdout()


def _answer_json(model: LanguageModel, request: Request) -> None:
    started = time.perf_counter()
    completion, first = _timed(model, request)
    seconds = time.perf_counter() - started
    further = completion.tokens - 1
    emit_json(
        {
            "model": model.name,
            "digest": model.digest,
            "request": request,
            "completion": completion,
            "seconds": seconds,
            "first_token_seconds": first,
            # Of decoding: what came after the first token, which ends the reading of the prompt.
            "tokens_per_second": further / (seconds - first) if further else None,
        }
    )


def _timed(model: LanguageModel, request: Request) -> tuple[Completion, float]:
    """The completion, and the seconds to its first token."""
    started = time.perf_counter()
    first: float | None = None
    pieces = model.stream(request)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            completion: Completion = end.value
            return completion, first if first is not None else time.perf_counter() - started
        first = first or time.perf_counter() - started
