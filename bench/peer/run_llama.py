"""llama.cpp through llama-cpp-python's low-level interface, as a worker of bench/peers.py.

Contexts have the default sizes of llama.cpp's own benchmark: batches of 2048 tokens, in pieces of
512.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

import common
import llama_cpp as api
import numpy as np

LONGEST = 2048


@api.llama_log_callback
def _silence(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """llama.cpp tells all it does on stderr; the last line there is for errors."""
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode(errors="replace"), end="", file=sys.stderr)


class Llama:
    """A model, and a context for as many sequences as are asked for."""

    def __init__(self, job: dict[str, Any]) -> None:
        api.llama_log_set(_silence, ctypes.c_void_p(0))
        api.llama_backend_init()
        self._threads = job["threads"]
        path = str(Path(job["model"])).encode()
        self._model = api.llama_model_load_from_file(path, api.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {job['model']}")
        self._vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        self._batch = api.llama_batch_init(LONGEST, 0, 1)
        self._contexts: dict[int, Any] = {}
        self._context(1)
        self.version = f"llama-cpp-python {api.__version__}"

    def prefill(self, prompt: list[int]) -> float:
        """Seconds to the first token."""
        context = self._context(1)
        begin = time.perf_counter()
        self._step(context, [(token, at, 0) for at, token in enumerate(prompt)], [len(prompt) - 1])
        return time.perf_counter() - begin

    def decode(self, prompts: common.Prompts, tokens: int) -> float:
        """All sequences in one batch, a token of each a step."""
        context = self._context(len(prompts))
        rows = [(t, at, s) for s, prompt in enumerate(prompts) for at, t in enumerate(prompt)]
        ends = [number for number, (_, at, s) in enumerate(rows) if at == len(prompts[s]) - 1]
        found = self._step(context, rows, ends)
        begin = time.perf_counter()
        for step in range(tokens):
            rows = [(t, len(prompts[s]) + step, s) for s, t in enumerate(found)]
            found = self._step(context, rows, list(range(len(rows))))
        return len(prompts) * tokens / (time.perf_counter() - begin)

    def _context(self, sequences: int) -> Any:
        """An empty context; made once for each number of sequences."""
        if sequences not in self._contexts:
            params = api.llama_context_default_params()
            params.n_ctx, params.n_batch, params.n_ubatch = max(LONGEST, 128 * sequences), 2048, 512
            params.n_seq_max = sequences
            params.n_threads = params.n_threads_batch = self._threads
            self._contexts[sequences] = api.llama_init_from_model(self._model, params)
        context = self._contexts[sequences]
        if not context:
            raise RuntimeError(f"llama.cpp makes no context for {sequences} sequences")
        api.llama_memory_clear(api.llama_get_memory(context), True)
        return context

    def _step(self, context: Any, rows: list[tuple[int, int, int]], wanted: list[int]) -> list[int]:
        """Greedy tokens after the wanted rows, each a (token, position, sequence)."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for number, (token, position, sequence) in enumerate(rows):
            batch.token[number], batch.pos[number] = token, position
            batch.n_seq_id[number], batch.seq_id[number][0] = 1, sequence
            batch.logits[number] = 0
        for number in wanted:
            batch.logits[number] = 1
        if code := api.llama_decode(context, batch):
            raise RuntimeError(f"llama_decode ended with {code}")
        return [self._best(context, number) for number in wanted]

    def _best(self, context: Any, row: int) -> int:
        logits = api.llama_get_logits_ith(context, row)
        return int(np.ctypeslib.as_array(logits, shape=(self._vocabulary,)).argmax())


if __name__ == "__main__":
    common.work(Llama)
