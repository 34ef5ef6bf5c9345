"""transformers on PyTorch, in bfloat16 or with torch's dynamic int8: a worker of bench/peers.py.

Dynamic int8 is the runtime of Wei et al., arXiv 2303.05378: the weight of every linear layer in
int8, its input quantized as it comes.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import common
import torch
import transformers
from transformers import AutoModelForCausalLM


class Torch:
    """A causal model with its own cache."""

    def __init__(self, job: dict[str, Any]) -> None:
        torch.set_num_threads(job["threads"])
        dynamic = job["dtype"] == "int8"
        dtype = torch.float32 if dynamic else torch.bfloat16
        model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype).eval()
        if dynamic:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch announces a successor to this interface
                model = torch.ao.quantization.quantize_dynamic(
                    model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True
                )
        self._model = model
        self.version = f"torch {torch.__version__}, transformers {transformers.__version__}"

    def prefill(self, prompt: list[int]) -> float:
        """Seconds to the first token."""
        begin = time.perf_counter()
        self._read([prompt])
        return time.perf_counter() - begin

    def decode(self, prompts: common.Prompts, tokens: int) -> float:
        """A token of every answer a step."""
        past, token = self._read(prompts)
        begin = time.perf_counter()
        with torch.inference_mode():
            for _ in range(tokens):
                out = self._model(token, past_key_values=past, use_cache=True)
                past, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
        return len(prompts) * tokens / (time.perf_counter() - begin)

    def _read(self, prompts: common.Prompts) -> tuple[Any, Any]:
        """The cache after the prompts, and the tokens that follow; logits of the last row only."""
        with torch.inference_mode():
            out = self._model(torch.tensor(prompts), use_cache=True, logits_to_keep=1)
        return out.past_key_values, out.logits[:, -1:].argmax(-1)


if __name__ == "__main__":
    common.work(Torch)
