"""The main job on a real model: Qwen2.5-Coder-0.5B, fetched once into the model cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.registry import fetch
from lichen.completion import Request
from lichen.loading import LanguageModel, load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROMPTS = [
    "def fibonacci(n):\n",
    "class Stack:\n    def __init__(self):\n",
    "import re\n\ndef count_words(text: str) -> dict[str, int]:\n",
    "# Sort a list of numbers with quicksort\ndef quicksort(",
    "SELECT name, count(*) FROM users",
    "#include <stdio.h>\n\nint main(",
    "function debounce(callback, delay) {\n",
    "def is_prime(n: int) -> bool:\n    '''True when n is prime.'''\n",
    "<|im_start|>user\nReverse a string in Python.<|im_end|>\n<|im_start|>assistant\n",
    "The difference between a list and a tuple is",
]


@pytest.fixture(scope="module")
def cache() -> Path:
    return Path(os.environ.get("LICHEN_CACHE", Path.home() / ".cache" / "lichen"))


@pytest.fixture(scope="module")
def path(cache: Path) -> Path:
    return fetch("qwen2.5-coder-0.5b", cache=cache, progress=None)


@pytest.fixture(scope="module")
def model(path: Path) -> LanguageModel:
    return load(path)


def transformers_model(path: Path) -> Qwen2ForCausalLM:
    """The same weights in transformers, float32, handed over without a file in between."""
    checkpoint = open_checkpoint(path)
    with torch.device("meta"):
        model = Qwen2ForCausalLM(Qwen2Config(**checkpoint.config))
    weights = {
        name: torch.from_numpy(np.asarray(checkpoint.read(name), np.float32))
        for name in checkpoint.names()
    }
    model.load_state_dict(weights, strict=False, assign=True)
    if model.config.tie_word_embeddings:
        model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    assert not [name for name, p in model.named_parameters() if p.is_meta]
    return model.eval()


def test_greedy_tokens_equal_transformers(model: LanguageModel, path: Path) -> None:
    """Checked by reading lichen's answers once: every token must be transformers' likeliest."""
    requests = [Request(prompt, max_tokens=64) for prompt in PROMPTS]
    answers = dict(model.generate(requests))
    oracle = transformers_model(path)
    for number, prompt in enumerate(PROMPTS):
        start = model.tokenizer.encode(prompt)
        whole = model.tokenizer.encode(prompt + answers[number].text)
        if whole[: len(start)] != start or len(whole) - len(start) > 64:
            pytest.fail(f"{prompt!r}: the answer does not encode back to its tokens")
        with torch.no_grad():
            logits = oracle(torch.tensor([whole])).logits[0]
        expected = logits[len(start) - 1 : len(whole) - 1].argmax(dim=-1).tolist()
        assert whole[len(start) :] == expected, prompt


def test_an_answer_does_not_depend_on_its_neighbours(model: LanguageModel) -> None:
    requests = [Request(prompt, max_tokens=24) for prompt in PROMPTS]
    together = dict(model.generate(requests))
    for number in (0, 3, 8):
        alone = dict(model.generate([requests[number]]))[0]
        assert alone == together[number]


def test_generate_streams_sensible_code(path: Path, cache: Path) -> None:
    command = [sys.executable, "-m", "lichen", "generate", "qwen2.5-coder-0.5b"]
    command += ["--prompt", "def fibonacci(n):\n", "--max-tokens", "64"]
    environment = os.environ | {"LICHEN_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "return" in done.stdout
    assert "fibonacci(" in done.stdout or "a, b" in done.stdout


def test_check_from_model_to_report(path: Path, cache: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lichen", "check", "qwen2.5-coder-0.5b"]
    command += ["--tasks", "basics:6", "--robustness", "2"]  # of more by default: minutes
    command += ["--out", str(tmp_path / "run"), "--json"]
    environment = os.environ | {"LICHEN_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 3, done.stderr  # six tasks decide nothing
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["verdict"]["decision"] == "undecided"
    assert record["correctness"][0]["count"] == 6
    assert record["divergence"]["kld_mean"] <= 0.01
    assert record["resources"]["candidate"]["size"]["value"] > 0
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
