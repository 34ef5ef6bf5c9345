"""Does looking guesses up in the text save time?  Tokens a second with and without, and the ratio.

    python -m bench.speculation MODEL [--tokens 200] [--rounds 3] [--threads 2] [--draft MODEL]

Each prompt is answered once with and once without guesses in every round, in turn, one prompt at a
time.  The answers must be equal.  Times are of decoding alone (from the first token to the last),
the least of the rounds; the ratio of a dozen is that of their total times.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from bench.speculation_prompts import OTHERS, REWRITES

from lichen.checkpoint.registry import default_cache, resolve
from lichen.completion import Request
from lichen.loading import LanguageModel, load

REWRITE = (
    "Rewrite this code with one change. {change} Answer with all of the code and nothing else.\n"
    "```python\n{code}```"
)
TARGETS = {"rewrites": 1.5, "others": 0.97}  # the least ratio of each dozen


def prompts(model: LanguageModel) -> dict[str, list[str]]:
    """Both dozens as the model's chat template puts them."""
    rewrites = [REWRITE.format(change=change, code=code) for change, code in REWRITES]
    asked = {"rewrites": rewrites, "others": list(OTHERS)}
    return {
        kind: [model.tokenizer.chat([{"role": "user", "content": text}]) for text in texts]
        for kind, texts in asked.items()
    }


def answer(model: LanguageModel, request: Request) -> tuple[str, int, float]:
    """The text, its tokens after the first, and the seconds that these took."""
    stream = model.stream(request)
    pieces = [next(stream)]
    begin = time.perf_counter()
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return "".join(pieces), end.value.tokens - 1, time.perf_counter() - begin


def compare(
    plain: LanguageModel, guessing: LanguageModel, request: Request, rounds: int
) -> tuple[float, float, int]:
    """Seconds without and with guesses, and the tokens that they took."""
    seconds: dict[str, list[float]] = {"plain": [], "guessing": []}
    texts, tokens = set(), 0
    for _ in range(rounds):
        for name, model in (("plain", plain), ("guessing", guessing)):
            text, tokens, took = answer(model, request)
            texts.add(text)
            seconds[name].append(took)
    if len(texts) != 1:
        raise SystemExit(f"guessing changed an answer: {texts}")
    return min(seconds["plain"]), min(seconds["guessing"]), tokens


def report(kind: str, timed: Sequence[tuple[float, float, int]]) -> float:
    """Prints a dozen's ratios; that of their sums."""
    without, with_guesses = (sum(t[place] for t in timed) for place in (0, 1))
    tokens = sum(t[2] for t in timed)
    ratios = " ".join(f"{t[0] / t[1]:.2f}" for t in timed)
    print(f"{kind:<9} {tokens} tokens: {tokens / without:.1f} tok/s without guesses,", end=" ")
    print(f"{tokens / with_guesses:.1f} with: {without / with_guesses:.2f}x  ({ratios})")
    return without / with_guesses


def main() -> None:
    """Both dozens, with and without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder, a .gguf file, or a name that was fetched")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--draft", help="a smaller model that guesses, instead of the text")
    parser.add_argument("--only", choices=sorted(TARGETS), help="one of the dozens")
    args = parser.parse_args()
    path = resolve(args.model, cache=default_cache())
    plain = load(path, threads=args.threads, speculate=False)
    draft = args.draft and load(resolve(args.draft, cache=default_cache()), threads=args.threads)
    guessing = load(path, threads=args.threads, draft=draft or None)
    ratios = {}
    for kind, texts in prompts(plain).items():
        if args.only in (None, kind):
            requests = [Request(text, max_tokens=args.tokens) for text in texts]
            timed = [compare(plain, guessing, request, args.rounds) for request in requests]
            ratios[kind] = report(kind, timed)
    print(json.dumps({kind: round(ratio, 3) for kind, ratio in ratios.items()}))
    if missed := [kind for kind, ratio in ratios.items() if ratio < TARGETS[kind]]:
        raise SystemExit(f"below the target of {TARGETS}: {', '.join(missed)}")


if __name__ == "__main__":
    main()
