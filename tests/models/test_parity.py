"""Every architecture computes what transformers computes, in NumPy and natively."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny import write_tiny_model
from transformers import AutoModelForCausalLM

from lichen import _core, models
from lichen.checkpoint import open_checkpoint
from lichen.engine import Engine, Generation, scheduler
from lichen.engine.sampling import Sampler
from lichen.graph import Graph
from lichen.reference import Reference

#: One ends while others are read; one crosses a page of the cache in its prompt, one as it writes.
QUEUE = [[int(i) for i in np.random.default_rng(n).integers(3, 384, n)] for n in (2, 37, 29)]
IDS = np.array([5, 17, 3, 250, 99, 7, 1, 64, 128, 33, 12, 200, 77], np.int32)
VARIANTS = [
    pytest.param({"model_type": "qwen2"}, id="qwen2"),
    pytest.param({"model_type": "llama"}, id="llama"),
    pytest.param(
        {"model_type": "llama", "tied": False, "heads": 2, "kv_heads": 2, "head_dim": 32},
        id="llama-untied-mha",
    ),
    pytest.param({"model_type": "qwen2", "head_dim": 24, "kv_heads": 1}, id="qwen2-wide-heads"),
]
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 10000.0,
}


def expected_logits(folder: Path, ids: Sequence[int] | np.ndarray = IDS) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor(np.array(ids, np.int64)[None])).logits[0].numpy()


class Recorder(Sampler):
    """Greedy; keeps its tokens and the logits that each was picked from."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0, 0)
        self.tokens: list[int] = []
        self.logits: list[np.ndarray] = []

    def pick(self, logits: np.ndarray) -> int:
        self.tokens.append(super().pick(logits))
        self.logits.append(logits.copy())
        return self.tokens[-1]


def opened(folder: Path) -> tuple[Graph, dict[str, np.ndarray]]:
    checkpoint = open_checkpoint(folder)
    graph = models.build(checkpoint.config)
    return graph, {name: checkpoint.read(name) for name, _ in graph.weights()}


def exact_engine(graph: Graph, weights: dict[str, np.ndarray], isa: str) -> Engine:
    """With keys and values as transformers has them."""
    read, size = weights.__getitem__, 1 << 20
    return Engine(graph, read, isa=isa, threads=2, cache_bytes=size, kv_cache="float32")


@pytest.fixture(params=VARIANTS)
def folder(request, tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny", **request.param)


def test_reference_equals_transformers(folder: Path) -> None:
    graph, weights = opened(folder)
    rows = np.arange(len(IDS), dtype=np.int32)
    logits = Reference(graph, weights).step(IDS, rows)
    np.testing.assert_allclose(logits, expected_logits(folder), atol=1e-4)


def test_reference_continues_from_its_cache(folder: Path) -> None:
    graph, weights = opened(folder)
    reference = Reference(graph, weights)
    pieces = [reference.step(IDS[:5], np.arange(5, dtype=np.int32))]
    pieces += [reference.step(IDS[i : i + 1], np.zeros(1, np.int32)) for i in range(5, len(IDS))]
    np.testing.assert_allclose(np.concatenate(pieces), expected_logits(folder), atol=1e-4)


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_native_equals_transformers(folder: Path, isa: str) -> None:
    graph, weights = opened(folder)
    engine = exact_engine(graph, weights, isa)
    logits = np.concatenate(list(engine.logits(IDS)))
    np.testing.assert_allclose(logits, expected_logits(folder), atol=1e-4)


@pytest.mark.parametrize("isa", _core.supported_isas())
def test_answers_in_a_queue_equal_transformers(folder: Path, isa: str, monkeypatch) -> None:
    """Prompts are read in small pieces beside answers that are written from the cache."""
    graph, weights = opened(folder)
    engine = exact_engine(graph, weights, isa)
    monkeypatch.setattr(scheduler, "STEP_TOKENS", 7)
    monkeypatch.setattr(scheduler, "PROMPT_TOKENS", 4)
    asked = [(prompt, Recorder()) for prompt in QUEUE]
    list(engine.run(Generation(prompt, 9, lambda _: True, seen) for prompt, seen in asked))
    for prompt, seen in asked:
        logits = expected_logits(folder, prompt + seen.tokens)[len(prompt) - 1 : -1]
        np.testing.assert_allclose(seen.logits, logits, atol=1e-4)


def test_llama3_rope_equals_transformers(tmp_path: Path) -> None:
    import json

    folder = write_tiny_model(tmp_path / "tiny", model_type="llama")
    config = json.loads((folder / "config.json").read_text())
    config = {k: v for k, v in config.items() if not k.startswith("rope")}
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": LLAMA3}))
    graph, weights = opened(folder)
    rows = np.arange(len(IDS), dtype=np.int32)
    logits = Reference(graph, weights).step(IDS, rows)
    np.testing.assert_allclose(logits, expected_logits(folder), atol=1e-4)
