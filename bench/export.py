"""Exported GGUF files in llama.cpp and in lichen: the same ids, the same greedy tokens?

    python bench/export.py MODEL [--type Q8_0 --type Q4_K] [--python build/llama-cpp/bin/python]

MODEL is what `lichen export` takes.  llama.cpp rounds the inputs of a product to 8 bits where
lichen keeps floats, so where two tokens are nearly equally likely the two may differ: a difference
counts unless lichen gives llama.cpp's token a log-probability within --tie of its own.  `make
llama-cpp` makes the environment that --python names.  Blocks of 256 (Q4_K, Q6_K) do not divide the
rows of the 0.5B model: what it gets instead is printed.
"""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from lichen.checkpoint.registry import default_cache, resolve
from lichen.export import ASKED, export
from lichen.loading import LanguageModel, load

WORKER = Path(__file__).with_name("llama_greedy.py")

TEXTS = (
    "def fibonacci(n):\n    return n  # 1234567 €\n\n\n",
    "<|im_start|>user\n  Hello,  World! it's we'll<|im_end|>",
    " héllo 日本語 🎉 \t\r\n x=1\u00a02",
    "<|fim_prefix|>def f(x):\n    <|fim_suffix|>\n<|fim_middle|>",
    "<|endoftext|>a<|file_sep|>b<tool_call>{}</tool_call>",
    inspect.getsource(textwrap),
)
PROMPTS = (
    "def fib(n):\n    ",
    'import os\n\ndef walk(path):\n    """Yield every file below path."""\n',
    "<|im_start|>user\nReverse a list in Python.<|im_end|>\n<|im_start|>assistant\n",
    "class Stack:\n    def __init__(self):\n",
    "# Sort the words of a sentence by length.\n",
)


def answers(args: argparse.Namespace, path: Path, prompts: list[list[int]]) -> Any:
    """llama.cpp's ids of the texts and tokens after the prompts."""
    asked, answered = path.with_suffix(".asked.json"), path.with_suffix(".answers.json")
    question = {"texts": TEXTS, "prompts": prompts, "tokens": args.tokens}
    asked.write_text(json.dumps(question), "utf-8")
    threads = ["--threads", str(args.threads)]
    subprocess.run([args.python, "-P", WORKER, path, asked, answered, *threads], check=True)
    return json.loads(answered.read_text("utf-8"))


def gaps(model: LanguageModel, prompt: list[int], tokens: list[int]) -> list[float]:
    """How much likelier lichen's own choice is than each of llama.cpp's tokens; 0 where equal."""
    ids = prompt + tokens
    logprobs = np.concatenate(list(model.logprobs(ids)))[len(prompt) - 1 : -1]
    best = logprobs.max(axis=1)
    return [float(b - row[t]) for b, row, t in zip(best, logprobs, tokens, strict=True)]


def compare(args: argparse.Namespace, path: Path) -> bool:
    """Print how the two agree on a file; whether they do."""
    model = load(path, threads=args.threads)
    prompts = [model.encode(prompt) for prompt in PROMPTS]
    found = answers(args, path, prompts)
    ids = [model.tokenizer.encode(text, bos=False) for text in TEXTS]
    same_ids = sum(ours == theirs for ours, theirs in zip(ids, found["ids"], strict=True))
    print(f"  texts cut into the same tokens: {same_ids} of {len(TEXTS)}")
    worst = [gaps(model, p, t) for p, t in zip(prompts, found["tokens"], strict=True)]
    flat = [gap for each in worst for gap in each]
    ties = [gap for gap in flat if gap > 0]
    greatest = f", the greatest gap {max(ties):.4f} nats" if ties else ""
    print(f"  the same choice after {len(flat) - len(ties)} of {len(flat)} tokens{greatest}")
    print(f"  the same answers: {sum(not any(each) for each in worst)} of {len(worst)}")
    model.close()
    return same_ids == len(TEXTS) and all(gap <= args.tie for gap in flat)


def main() -> int:
    """Export, run in both, compare; 1 where the two differ by more than a near tie."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder, a .gguf file, or a name that was fetched")
    parser.add_argument(
        "--type", action="append", dest="types", choices=ASKED, help="repeat for several"
    )
    parser.add_argument("--python", type=Path, default=Path("build/llama-cpp/bin/python"))
    parser.add_argument("--out", type=Path, default=Path("build/export"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--tie", type=float, default=0.1, help="nats")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    source = resolve(args.model, cache=default_cache())
    agree = True
    for kind in args.types or ("auto",):
        path = args.out / f"{source.name.removesuffix('.gguf')}-{kind}.gguf"
        report = export(source, path, type=kind, force=True)
        print(f"{path}: {report.bits_per_weight:.2f} bits per weight, {report.seconds:.1f} s")
        for (wanted, instead), count in report.fallbacks.items():
            print(f"  {count} tensors: {instead}, for blocks of {wanted} do not divide their rows")
        agree &= compare(args, path)
    print("agree" if agree else "do NOT agree")
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
