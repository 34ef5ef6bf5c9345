"""Prompts answered by llama.cpp, greedily, one after another.  Run by bench/llama_cpp.py.

    python -P bench/llama_answers.py MODEL.gguf PROMPTS.jsonl SAMPLES.jsonl

Needs llama-cpp-python and nothing of lichen, so it lives in an environment of its own.  What
SAMPLES holds already is not asked again.  -P keeps bench/ off the import path, where
llama_cpp.py is another file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from llama_cpp import Llama


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file; a last one that was cut off is dropped from it."""
    text = path.read_text("utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, "utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def answer(model: Llama, asked: dict[str, Any]) -> dict[str, Any]:
    """The sample of one prompt; special tokens in it are parsed, as lichen parses them."""
    ids = model.tokenize(asked["prompt"].encode(), add_bos=False, special=True)
    found = model.create_completion(
        ids,
        max_tokens=asked["max_tokens"],
        stop=asked["stop"],
        temperature=0.0,
        repeat_penalty=1.0,
    )
    [choice] = found["choices"]
    return {
        "task_id": asked["task_id"],
        "completion": choice["text"],
        "prompt": asked["prompt"],
        "finish_reason": choice["finish_reason"],
        "prompt_tokens": len(ids),
        "tokens": found["usage"]["completion_tokens"],
    }


def main() -> None:
    """Answer what is not answered yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=4096)
    args = parser.parse_args()
    done = {(line["task_id"], line["prompt"]) for line in lines(args.samples)}
    asked = lines(args.prompts)
    missing = [line for line in asked if (line["task_id"], line["prompt"]) not in done]
    if not missing:
        return
    model = Llama(
        str(args.model),
        n_ctx=args.context,
        n_threads=args.threads,
        n_threads_batch=args.threads,
        verbose=False,
    )
    with args.samples.open("a", encoding="utf-8") as out:
        for number, line in enumerate(missing, start=len(asked) - len(missing) + 1):
            out.write(json.dumps(answer(model, line)) + "\n")
            out.flush()
            print(f"\r{number} of {len(asked)}", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
