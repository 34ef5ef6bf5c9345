"""Batch invariance, tried out: a tiny random model answers alone and in a crowd, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen import models
from lichen.engine import Engine, Generation
from lichen.engine.lookup import LookupDrafter
from lichen.engine.sampling import Sampler
from lichen.engine.scheduler import MAX_SEQUENCES
from lichen.schemes import ActivationScheme, Scheme, int4, int8
from lichen.solvers import absmax
from lichen.tensor import FloatArray, QuantizedTensor

_CONFIG = {
    "model_type": "qwen2",
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


def _quantized(weight: FloatArray, scheme: Scheme) -> QuantizedTensor:
    return replace(absmax.solve(weight, scheme), activations=ActivationScheme())


#: Every number format that the engine has kernels for: how a matrix is stored in it.
FORMATS: dict[str, Callable[[npt.NDArray[np.float32]], FloatArray | QuantizedTensor]] = {
    "float32": lambda weight: weight,
    "bfloat16": lambda weight: weight.astype(ml_dtypes.bfloat16),
    "float16": lambda weight: weight.astype(np.float16),
    "int8": lambda weight: _quantized(weight, int8.SCHEME),
    "int4": lambda weight: _quantized(weight, int4.SCHEME),
}


def tiny_engine(
    form: str,
    *,
    threads: int,
    isa: str,
    speculate: bool = True,
    cache_bytes: int = 4 << 20,
    max_sequences: int = MAX_SEQUENCES,
) -> Engine:
    """A random model of 0.1 million weights in one of `FORMATS`; the same one every time."""
    graph = models.build(_CONFIG)
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)
        for name, shape in graph.weights()
    }

    def read(name: str) -> FloatArray | QuantizedTensor:
        weight = weights[name]
        return FORMATS[form](weight) if weight.ndim == 2 else 1 + weight

    drafter = LookupDrafter() if speculate else None
    return Engine(
        graph,
        read,
        isa=isa,
        threads=threads,
        cache_bytes=cache_bytes,
        max_sequences=max_sequences,
        drafter=drafter,
    )


class Recorder(Sampler):
    """Greedy, and keeps the bits of the logits that each token was picked from."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0, 0)
        self.seen: list[bytes] = []

    def pick(self, logits: npt.NDArray[np.float32]) -> int:
        """The likeliest token."""
        self.seen.append(logits.tobytes())
        return super().pick(logits)


def prompts(count: int) -> list[list[int]]:
    """Random ones of 1 to 41 tokens; half of them share their first page."""
    random = np.random.default_rng(1)
    common = random.integers(0, 200, 33)
    made = []
    for number in range(count):
        own = random.integers(0, 200, int(random.integers(1, 9)))
        made.append([*(common if number % 2 else []), *own])
    return [[int(token) for token in prompt] for prompt in made]


def answers(engine: Engine, asked: Sequence[list[int]], tokens: int) -> list[list[bytes]]:
    """The logits behind every token of the answers, asked all at once."""
    recorders = [Recorder() for _ in asked]
    generations = [
        Generation(prompt, tokens, lambda _: True, recorder)
        for prompt, recorder in zip(asked, recorders, strict=True)
    ]
    for _ in engine.run(generations):
        pass
    return [recorder.seen for recorder in recorders]


def batch_invariance(isa: str, threads: tuple[int, ...] = (1, 2)) -> dict[str, bool]:
    """Of each number format, whether answers alone equal those among 63 others.

    Alone on the first number of threads and without guesses; together on each, with them.
    """
    asked = prompts(64)
    held = {}
    for form in FORMATS:
        lone = tiny_engine(form, threads=threads[0], isa=isa, speculate=False)
        alone = [answers(lone, [prompt], 4)[0] for prompt in asked[::11]]
        together = [
            answers(tiny_engine(form, threads=count, isa=isa), asked, 4)[::11] for count in threads
        ]
        held[form] = all(crowd == alone for crowd in together)
    return held
