"""OpenVINO GenAI on a GGUF file, as a worker of bench/peers.py.

Its documentation has `LLMPipeline(path, "CPU")` read a .gguf file; the pipeline batches by itself.
"""

from __future__ import annotations

import time
from typing import Any

import common
import numpy as np
import openvino as ov
import openvino_genai as genai


class OpenVino:
    """A pipeline on the processor."""

    def __init__(self, job: dict[str, Any]) -> None:
        properties = {"INFERENCE_NUM_THREADS": job["threads"], "PERFORMANCE_HINT": "LATENCY"}
        self._pipeline = genai.LLMPipeline(job["model"], "CPU", **properties)
        self.version = f"openvino-genai {genai.__version__.partition('-')[0]}"

    def prefill(self, prompt: list[int]) -> float:
        """Seconds to the first token."""
        begin = time.perf_counter()
        self._answer([prompt], 1)
        return time.perf_counter() - begin

    def decode(self, prompts: common.Prompts, tokens: int) -> float:
        """From the first step of the answers to the last, by the pipeline's own clock (ms)."""
        found = self._answer(prompts, 1 + tokens).perf_metrics.raw_metrics
        times = [float(at) for at in found.m_new_token_times]
        return 1000 * sum(found.m_batch_sizes[1:]) / (times[-1] - times[0])

    def _answer(self, prompts: common.Prompts, tokens: int) -> Any:
        ids = np.array(prompts, np.int64)
        inputs = genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        config = genai.GenerationConfig(
            max_new_tokens=tokens, ignore_eos=True, do_sample=False, apply_chat_template=False
        )
        result = self._pipeline.generate(inputs, config)
        written = sum(len(answer) for answer in result.tokens)
        if written != tokens * len(prompts):
            raise RuntimeError(f"{written} tokens written, not {tokens * len(prompts)}")
        return result


if __name__ == "__main__":
    common.work(OpenVino)
