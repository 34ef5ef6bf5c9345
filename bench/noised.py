"""A damaged copy of a model, for the proof that a bad candidate is rejected.

    python bench/noised.py MODEL OUT [--noise 0.3] [--seed 0]
    lichen verify MODEL OUT --robustness 0 --out run       # ends with 1: reject

Every weight matrix of the blocks is moved by Gaussian noise of `--noise` times its own standard
deviation; the result is a float16 folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lichen.checkpoint import Checkpoint, open_checkpoint
from lichen.checkpoint.atomic import AtomicFolder, write_shards, write_tokenizer


def noised(checkpoint: Checkpoint, noise: float, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and float16 values of every tensor."""
    random = np.random.default_rng(seed)
    for name in checkpoint.names():
        weight = np.asarray(checkpoint.read(name), np.float32)
        if weight.ndim == 2 and ".layers." in name:
            weight = weight + random.standard_normal(weight.shape, np.float32) * (
                noise * weight.std()
            )
        yield name, weight.astype(np.float16)


def main() -> None:
    """Write the copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    checkpoint = open_checkpoint(args.model)
    with AtomicFolder(args.out) as folder:
        config = checkpoint.config | {"torch_dtype": "float16"}
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        write_tokenizer(checkpoint, folder)
        write_shards(folder, noised(checkpoint, args.noise, args.seed))
    print(args.out)


if __name__ == "__main__":
    main()
