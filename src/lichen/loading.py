"""From a model on disk to text: joins checkpoint, tokenizer, architecture and engine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lichen import models
from lichen.checkpoint import Checkpoint, open_checkpoint
from lichen.completion import Completion, FinishReason, Request
from lichen.engine import Engine, Generation
from lichen.engine.compile import cast
from lichen.engine.draft import Drafter
from lichen.engine.draft_model import ModelDrafter
from lichen.engine.lookup import LookupDrafter
from lichen.engine.machine import choose_isa, choose_threads
from lichen.engine.memory import require
from lichen.engine.sampling import Sampler, log_softmax
from lichen.engine.scheduler import CACHE_BYTES, KV_TYPE, KV_TYPES
from lichen.errors import InputError
from lichen.tensor import AnyTensor, BlockTensor, StoredFloats
from lichen.tokenizer import StreamDecoder, Tokenizer

#: Bytes that a process can name; what of them a machine has is found on loading.
_ADDRESSES = 2**63

#: How float weights are held: as stored, or converted on loading.
DTYPES = ("auto", "float32", "bfloat16", "float16")


def cache_bytes(cache_gb: float | None) -> int:
    """A budget in GB of 1e9 bytes, in bytes; the usual one when None.

    Raises InputError for what is no number of bytes, such as NaN or more than can be addressed.
    """
    if cache_gb is None:
        return CACHE_BYTES
    if not 1 <= cache_gb * 1e9 < _ADDRESSES:
        raise InputError(
            f"the key-value cache (--cache-gb) cannot have {cache_gb:g} GB; give more than 0 and"
            f" less than {_ADDRESSES / 1e9:.0f}."
        )
    return int(cache_gb * 1e9)


def load(
    model: Path,
    *,
    threads: int | None = None,
    isa: str | None = None,
    dtype: str = "auto",
    kv_cache: str = KV_TYPE,
    cache_bytes: int = CACHE_BYTES,
    speculate: bool = True,
    draft: LanguageModel | None = None,
) -> LanguageModel:
    """Load a model folder or ``.gguf`` file, ready to generate.

    threads      compute threads; one for each physical core when None
    isa          instruction set to force; else ``LICHEN_ISA``, else the best of this machine
    dtype        one of `DTYPES`, for weights that are stored as floats
    kv_cache     one of `KV_TYPES`: what keys and values are stored as
    cache_bytes  budget of the key-value cache, of which it takes whole pages of 32 tokens, or one
    speculate    guess tokens ahead where it saves time; the answers are the same
    draft        a smaller model with the same tokens, which guesses; else the text itself does

    Raises InputError for anything on disk or in the arguments that cannot be used, ResourceError
    where memory does not hold weights and cache.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}.")
    if kv_cache not in KV_TYPES:
        raise InputError(f"kv_cache {kv_cache!r} is unknown; choose one of {', '.join(KV_TYPES)}.")
    if cache_bytes < 1:
        raise InputError(f"cache_bytes is {cache_bytes}, must be at least 1.")
    checkpoint = open_checkpoint(Path(model))
    graph = models.build(checkpoint.config)
    needed = [name for name, _ in graph.weights()]
    _require_weights(checkpoint, needed)
    weights = ((checkpoint.dtype(name), checkpoint.shape(name)) for name in needed)
    require(checkpoint.path, weights, dtype, cache_bytes)
    tokenizer = Tokenizer.load(checkpoint)
    if draft is not None and not tokenizer.same_ids(draft.tokenizer):
        raise InputError(
            f"the draft model {draft.name} has another tokenizer than {checkpoint.path}; choose a"
            " smaller model of the same family."
        )

    schemes: Counter[str] = Counter()

    def read(name: str) -> AnyTensor:
        tensor = checkpoint.read_exact(name) if dtype == "auto" else checkpoint.read(name)
        if isinstance(tensor, np.ndarray):
            tensor = cast(tensor, dtype)
        schemes[_in_words(tensor)] += math.prod(tensor.shape)
        return tensor

    engine = Engine(
        graph,
        read,
        isa=choose_isa(isa),
        threads=choose_threads(threads),
        cache_bytes=cache_bytes,
        drafter=_drafter(graph.vocabulary, draft) if speculate else None,
        kv_cache=kv_cache,
    )
    scheme, _ = schemes.most_common(1)[0]
    return LanguageModel(checkpoint, tokenizer, engine, scheme)


class LanguageModel:
    """A loaded model: prompts in, text out."""

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Tokenizer, engine: Engine, scheme: str
    ) -> None:
        self.tokenizer = tokenizer
        self.scheme = scheme
        self.name = checkpoint.path.resolve().stem
        self.description = checkpoint.description
        self._checkpoint = checkpoint
        self._engine: Engine | None = engine

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the model is made of; reads its files the first time."""
        return self._checkpoint.digest()

    @property
    def engine(self) -> Engine:
        """The engine underneath; RuntimeError once the model is closed."""
        if self._engine is None:
            raise RuntimeError("this model is closed")
        return self._engine

    def close(self) -> None:
        """Free the memory of weights and cache."""
        self._engine = None

    def generate(
        self, requests: Iterable[Request], cancelled: Container[int] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Answer all requests in one batch; (number, completion) of each as it is done.

        They are read as there is room for them, so there may be any number; one that cannot be
        answered ends the run with its InputError.  Those whose numbers are in ``cancelled``, to
        which other threads may add, end with what they have written.
        """
        answers: dict[int, tuple[Generation, _Writer]] = {}

        def generations() -> Iterator[Generation]:
            for number, request in enumerate(requests):
                writer = _Writer(self.tokenizer, request, None)
                answers[number] = self._generation(request, writer), writer
                yield answers[number][0]

        for number in self.engine.run(generations(), cancelled):
            generation, writer = answers.pop(number)
            yield number, writer.completion(generation)

    def stream(self, request: Request) -> Generator[str, None, Completion]:
        """Answer one request, giving text out as soon as it is certain; returns all of it.

        A step gives a piece for its token, empty while nothing more is certain.
        """
        pieces: list[str] = []
        writer = _Writer(self.tokenizer, request, pieces)
        generation = self._generation(request, writer)
        for _ in self.engine.steps(generation):
            yield from pieces
            pieces.clear()
        yield from writer.rest()
        return writer.completion(generation)

    def clip(self, request: Request) -> Request:
        """The request with its prompt cut so that the whole answer has room behind it.

        For measuring, where any prompt of a length will do; most models need no cut.
        """
        room = self.engine.token_capacity - request.max_tokens
        ids = self.tokenizer.encode(request.prompt)
        for count in range(min(room, len(ids) - 1), 0, -1) if len(ids) > room else ():
            prompt = self.tokenizer.decode(ids[:count])
            if len(self.tokenizer.encode(prompt)) <= room:
                return replace(request, prompt=prompt)
        return request

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return self.tokenizer.encode(text, special=False)

    def logprobs(self, ids: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        """Log-probabilities [piece, vocabulary] of the token after each of ``ids``, in pieces."""
        for logits in self.engine.logits(np.array(ids, np.int32)):
            yield log_softmax(logits)

    def _generation(self, request: Request, writer: _Writer) -> Generation:
        prompt = self.tokenizer.encode(request.prompt)
        _check(request, prompt, self.engine.token_capacity)
        room = self.engine.token_capacity - len(prompt)
        sampler = Sampler(request.temperature, request.top_p, request.seed)
        return Generation(prompt, min(request.max_tokens, room), writer.accept, sampler)


class _Writer:
    """Turns tokens into text and watches for the end."""

    def __init__(self, tokenizer: Tokenizer, request: Request, out: list[str] | None) -> None:
        self._eos = tokenizer.eos_ids
        self._decoder: StreamDecoder = tokenizer.stream()
        self._stop = request.stop
        self._longest = max((len(s) for s in request.stop), default=1)
        self._text = ""
        self._given = 0
        self._tokens = 0
        self._out = out
        self._finish: FinishReason | None = None

    def accept(self, token: int) -> bool:
        """Take the next token; False once the answer is complete."""
        self._tokens += 1
        if token in self._eos:
            self._finish = "eos"
            return False
        searched = max(0, len(self._text) - self._longest + 1)
        self._text += self._decoder.push(token)
        if self._cut(searched):
            return False
        if self._out is not None:
            certain = self._text[self._given : len(self._text) - self._longest + 1]
            self._given += len(certain)
            self._out.append(certain)
        return True

    def rest(self) -> Iterator[str]:
        """The text that was held back until the end was known."""
        self._flush()
        yield self._text[self._given :]

    def completion(self, generation: Generation) -> Completion:
        """What was written."""
        self._flush()
        whole: FinishReason = "length" if self._tokens == generation.max_tokens else "cancelled"
        finish = self._finish or whole
        return Completion(self._text, finish, len(generation.prompt), self._tokens)

    def _flush(self) -> None:
        if self._finish != "stop":
            searched = max(0, len(self._text) - self._longest + 1)
            self._text += self._decoder.flush()
            self._cut(searched)

    def _cut(self, searched: int) -> bool:
        found = [at for stop in self._stop if (at := self._text.find(stop, searched)) >= 0]
        if found:
            self._text = self._text[: min(found)]
            self._finish = "stop"
        return bool(found)


def _drafter(vocabulary: int, draft: LanguageModel | None) -> Drafter:
    return LookupDrafter() if draft is None else ModelDrafter(draft.engine, vocabulary)


def too_long(prompt: Sequence[int], capacity: int) -> str | None:
    """Why a prompt leaves no room for an answer among ``capacity`` tokens; None where it does."""
    if len(prompt) < capacity:
        return None
    return (
        f"the prompt has {len(prompt)} tokens, but there is room for {capacity - 1}"
        " (context length and key-value cache)"
    )


def _check(request: Request, prompt: list[int], capacity: int) -> None:
    if not prompt:
        raise InputError("the prompt is empty and this model has no token to begin with.")
    if reason := too_long(prompt, capacity):
        raise InputError(f"{reason}; shorten it.")
    if request.max_tokens < 1:
        raise InputError(f"max_tokens is {request.max_tokens}, must be at least 1.")
    if not (0 <= request.temperature < math.inf):
        raise InputError(f"temperature is {request.temperature}, must be 0 or more.")
    if not 0 < request.top_p <= 1:
        raise InputError(f"top_p is {request.top_p}, must be above 0 and at most 1.")
    if "" in request.stop:
        raise InputError("a stop string is empty; it would end every answer at once.")


def _in_words(tensor: AnyTensor) -> str:
    match tensor:
        case BlockTensor():
            return "float32"  # the numbers that its codes stand for
        case StoredFloats():
            return tensor.name
        case np.ndarray():
            return tensor.dtype.name
    return ", ".join(str(part) for part in (tensor.scheme, tensor.activations) if part)


def _require_weights(checkpoint: Checkpoint, needed: list[str]) -> None:
    present = set(checkpoint.names())
    missing = [name for name in needed if name not in present]
    if missing:
        raise InputError(
            f"{checkpoint.path}: {len(missing)} tensors that config.json asks for are missing,"
            f" the first is {missing[0]}."
        )
