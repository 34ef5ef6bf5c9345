"""Greedy tokens and token ids by llama.cpp, for bench/export.py.

    python -P bench/llama_greedy.py MODEL.gguf ASKED.json ANSWERS.json

ASKED.json holds {"texts": [text], "prompts": [[id]], "tokens": N}.  Needs llama-cpp-python and
nothing of lichen, so it lives in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

from llama_cpp import Llama


def greedy(model: Llama, prompt: list[int], tokens: int) -> list[int]:
    """The likeliest token, again and again, whatever it is."""
    model.reset()
    return [int(t) for t in islice(model.generate(prompt, temp=0.0, repeat_penalty=1.0), tokens)]


def main() -> None:
    """Answer everything that is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("asked", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    asked = json.loads(args.asked.read_text("utf-8"))
    model = Llama(
        str(args.model),
        n_ctx=1024,
        n_threads=args.threads,
        n_threads_batch=args.threads,
        verbose=False,
    )
    answers = {
        "ids": [model.tokenize(t.encode(), add_bos=False, special=True) for t in asked["texts"]],
        "tokens": [greedy(model, prompt, asked["tokens"]) for prompt in asked["prompts"]],
    }
    args.answers.write_text(json.dumps(answers), "utf-8")


if __name__ == "__main__":
    main()
