"""Batch invariance, tried out: a tiny random model answers alone and in a crowd, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lichen import models
from lichen.engine import Engine, Generation
from lichen.engine.lookup import LookupDrafter
from lichen.engine.sampling import Sampler
from lichen.engine.scheduler import KV_TYPE, KV_TYPES, MAX_SEQUENCES
from lichen.schemes import ActivationScheme, Scheme, int4, int8, trellis
from lichen.solvers import absmax, mse
from lichen.tensor import FloatArray, Quantized

_CONFIG = {
    "model_type": "qwen2",
    "vocab_size": 200,
    "hidden_size": 128,  # in groups of 128: one, and three of them in the down projection
    "intermediate_size": 384,
    "num_hidden_layers": 1,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


#: How inputs meet codes: with a scale a token, or for each group of columns, or one for all.
_TOKEN = ActivationScheme()
_STATIC = ActivationScheme(granularity="tensor", dynamic=False)


def _groups(size: int) -> ActivationScheme:
    return ActivationScheme(granularity="group", group_size=size)


#: How a matrix is stored in a format.
Store = Callable[[npt.NDArray[np.float32]], FloatArray | Quantized]


def _codes(scheme: Scheme, inputs: ActivationScheme | None) -> Store:
    """Integers of ``scheme``; inputs stay in floats where they have no scheme."""
    scale = 0.02 if inputs == _STATIC else None  # inputs are about 1: the largest are cut
    return lambda weight: replace(
        absmax.solve(weight, scheme), activations=inputs, input_scale=scale
    )


def _int4(size: int, inputs: ActivationScheme | None, *, zeros: bool = False) -> Store:
    return _codes(replace(int4.SCHEME, group_size=size, symmetric=not zeros), inputs)


#: Every number format that the engine has kernels for: how a matrix is stored in it.  "groups" have
#: inputs with a scale for each, "floats" have inputs in floats; int4 has groups of 32 if not said.
FORMATS: dict[str, Store] = {
    "float32": lambda weight: weight,
    "bfloat16": lambda weight: weight.astype(ml_dtypes.bfloat16),
    "float16": lambda weight: weight.astype(np.float16),
    "int8": _codes(int8.SCHEME, _TOKEN),
    "int8-groups": _codes(int8.SCHEME, _groups(64)),
    "int8-static": _codes(int8.SCHEME, _STATIC),
    "int8-floats": _codes(int8.SCHEME, None),
    "int6-floats": _codes(Scheme(6, granularity="group", group_size=32), None),
    "int4": _int4(32, _TOKEN),
    "int4-groups": _int4(32, _groups(32)),
    "int4-zeros": _int4(32, _TOKEN, zeros=True),
    "int4-64-groups": _int4(64, _groups(64)),
    "int4-64-zeros": _int4(64, _TOKEN, zeros=True),
    "int4-128": _int4(128, _TOKEN),
    "int4-128-zeros-groups": _int4(128, _groups(128), zeros=True),
    "int4-floats": _int4(32, None, zeros=True),
    "int4-trellis": lambda weight: replace(
        mse.solve(weight, trellis.SCHEME), activations=_groups(trellis.GROUP)
    ),
}

#: What `batch_invariance` tries, by what it is called: a format, and what keys and values are in.
TRIED = {form: (form, KV_TYPE) for form in FORMATS} | {
    f"{kind}-cache": ("float32", kind) for kind in KV_TYPES if kind != KV_TYPE
}


@lru_cache(2)  # whoever makes one engine often makes another of its format
def _weights(form: str) -> dict[str, FloatArray | Quantized]:
    """Random ones in one of `FORMATS`; the same every time."""
    random = np.random.default_rng(0)
    made: dict[str, FloatArray | Quantized] = {}
    for name, shape in models.build(_CONFIG).weights():
        weight = random.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)
        made[name] = FORMATS[form](weight) if weight.ndim == 2 else 1 + weight
    return made


def tiny_engine(
    form: str,
    *,
    threads: int,
    isa: str,
    speculate: bool = True,
    cache_bytes: int = 4 << 20,
    kv_cache: str = "float32",
    max_sequences: int = MAX_SEQUENCES,
) -> Engine:
    """A random model of 0.2 million weights in one of `FORMATS`; the same one every time."""
    drafter = LookupDrafter() if speculate else None
    return Engine(
        models.build(_CONFIG),
        _weights(form).__getitem__,
        isa=isa,
        threads=threads,
        cache_bytes=cache_bytes,
        kv_cache=kv_cache,
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
    """Random ones of 1 to 41 tokens, half of which share their first page, and a long one.

    The long one reaches beyond the position from which attention may be multiplied in another way
    (`lichen/attention.h`).
    """
    random = np.random.default_rng(1)
    common = random.integers(0, 200, 33)
    made = [random.integers(0, 200, 640)]
    for number in range(1, count):
        own = random.integers(0, 200, int(random.integers(1, 9)))
        made.append(np.concatenate([common, own]) if number % 2 else own)
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
    """Of everything in `TRIED`, whether answers alone equal those among 63 others.

    Alone on the first number of threads and without guesses; together on each, with them.
    """
    asked = prompts(64)
    held = {}
    for name, (form, kind) in TRIED.items():
        lone = tiny_engine(form, threads=threads[0], isa=isa, speculate=False, kv_cache=kind)
        alone = [answers(lone, [prompt], 4)[0] for prompt in asked[::11]]
        crowds = [tiny_engine(form, threads=count, isa=isa, kv_cache=kind) for count in threads]
        held[name] = all(answers(crowd, asked, 4)[::11] == alone for crowd in crowds)
    return held
