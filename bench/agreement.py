"""An int8 folder read by lichen and by transformers + compressed-tensors: do they agree?

    python bench/agreement.py INT8_FOLDER [--tokens 200]

Rounding an activation to int8 turns the last bit of a float into a whole step now and then, and
24 layers multiply that.  So no two implementations agree to the last digit, and the yardstick is
transformers against itself in another precision: lichen should be no farther from it than that.
Needs the `test` extra.
"""

from __future__ import annotations

import argparse
import inspect
import textwrap
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM

from lichen.loading import load

LogProbs = npt.NDArray[np.float64]


def by_lichen(folder: Path, tokens: int) -> tuple[list[int], LogProbs]:
    """Token ids of some code, and what lichen expects after each."""
    model = load(folder)
    ids = model.encode(inspect.getsource(textwrap))[:tokens]
    return ids, np.concatenate(list(model.logprobs(ids))).astype(np.float64)


def by_transformers(folder: Path, ids: list[int], dtype: torch.dtype) -> LogProbs:
    """The same from transformers, which simulates int8 in floats of `dtype`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        model(torch.tensor([ids[:2]]))  # weights are decompressed by the first forward pass
        logits = model.to(dtype)(torch.tensor([ids])).logits[0]
        return torch.log_softmax(logits.double(), dim=-1).numpy()


def main() -> None:
    """Print the divergence of every pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    ids, lichen = by_lichen(args.folder, args.tokens)
    found = {
        "lichen": lichen,
        "transformers float32": by_transformers(args.folder, ids, torch.float32),
        "transformers float64": by_transformers(args.folder, ids, torch.float64),
    }
    for (a, p), (b, q) in combinations(found.items(), 2):
        p, q = p[:, : q.shape[1]], q[:, : p.shape[1]]
        kl = (np.exp(p) * (p - q)).sum(axis=1).mean()
        same = (p.argmax(axis=1) == q.argmax(axis=1)).mean()
        print(f"{a} - {b}: KL {kl:.4f} nats, {same:.1%} of the likeliest tokens equal")


if __name__ == "__main__":
    main()
