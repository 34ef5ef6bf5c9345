"""PyTorch on the same weights beside lichen: tokens a second at batch 1, alternating, medians.

    python bench/torch_peer.py MODEL INT8_FOLDER [--tokens 64] [--rounds 3] [--threads 2]

Needs the `test` extra (torch, transformers).  The paper's runtime is torch's dynamic int8.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lichen.check import default_cache
from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.registry import resolve
from lichen.completion import Request
from lichen.loading import LanguageModel, load

PROMPT = "def quicksort(items):\n    '''Sort a list of numbers.'''\n"


def torch_model(path: Path) -> torch.nn.Module:
    """The checkpoint's weights in transformers, float32."""
    checkpoint = open_checkpoint(path)
    fields = {k: v for k, v in checkpoint.config.items() if k != "model_type"}
    config = AutoConfig.for_model(checkpoint.config["model_type"], **fields)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    state = {
        n: torch.from_numpy(np.asarray(checkpoint.read(n), np.float32)) for n in checkpoint.names()
    }
    model.load_state_dict(state, strict=False)
    return model.eval()


def torch_speed(model: torch.nn.Module, ids: list[int], tokens: int) -> float:
    """Greedy tokens a second after the prompt was read."""
    prompt = torch.tensor([ids])
    with torch.inference_mode():
        past = model(prompt, use_cache=True).past_key_values
        token = torch.tensor([[ids[-1]]])
        begin = time.perf_counter()
        for _ in range(tokens):
            out = model(token, past_key_values=past, use_cache=True)
            past, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
        return tokens / (time.perf_counter() - begin)


def lichen_speed(model: LanguageModel, tokens: int) -> float:
    """Greedy tokens a second after the first."""
    stream = model.stream(Request(PROMPT, max_tokens=tokens + 1))
    next(stream)
    begin = time.perf_counter()
    count = sum(1 for _ in stream) - 1  # the last piece is the held-back rest
    return count / (time.perf_counter() - begin)


def main() -> None:
    """Measure all four, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder, a .gguf file, or a name that was fetched")
    parser.add_argument("int8", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    path = resolve(args.model, cache=default_cache())
    original, int8 = load(path, threads=args.threads), load(args.int8, threads=args.threads)
    ids = original.tokenizer.encode(PROMPT)
    full = torch_model(path)
    dynamic = torch.ao.quantization.quantize_dynamic(full, {torch.nn.Linear}, dtype=torch.qint8)
    half = torch_model(path).to(torch.bfloat16)
    runs: dict[str, Callable[[], float]] = {
        "lichen int8": lambda: lichen_speed(int8, args.tokens),
        "torch dynamic int8": lambda: torch_speed(dynamic, ids, args.tokens),
        "lichen original": lambda: lichen_speed(original, args.tokens),
        "torch bfloat16": lambda: torch_speed(half, ids, args.tokens),
    }
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            measured[name].append(run())
    print(json.dumps({name: round(statistics.median(v), 2) for name, v in measured.items()}))


if __name__ == "__main__":
    main()
