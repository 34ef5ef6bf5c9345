"""What OpenAI-compatible servers send back, and what is wrong with it.

Nothing is guessed: a reply that does not say what it must is refused, not repaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from lichen.completion import Completion, FinishReason, Request

T = TypeVar("T")

#: No tokenizer in wide use has a longer token (a run of spaces, in those of GPT-4 and Qwen).
LONGEST_TOKEN = 128

#: What /models says of a model that stays the same from one asking to the next.  Others do not:
#: llama.cpp and vLLM put the time of the asking into "created".
_LASTING = ("id", "root", "parent", "owned_by", "max_model_len")
_LASTING_META = ("vocab_type", "n_vocab", "n_ctx_train", "n_embd", "n_params", "size")

_ENDS: dict[str, FinishReason] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "eos": "eos",
    "eos_token": "eos",
    "length": "length",
}


class BadReplyError(Exception):
    """A reply that is none, with the reason in words."""


class ServedModel(msgspec.Struct, frozen=True):
    """A model as /models lists it."""

    id: str
    root: Any = None
    parent: Any = None
    owned_by: Any = None
    max_model_len: Any = None
    meta: Any = None

    def identity(self) -> dict[str, Any]:
        """What tells it from other models, as far as the server says."""
        meta = {key: self._meta(key) for key in _LASTING_META}
        return {key: getattr(self, key) for key in _LASTING} | {"meta": meta}

    @property
    def parameters(self) -> int | None:
        """How many weights, where the server (llama.cpp) says so."""
        return self._meta("n_params") or None

    @property
    def bits_per_weight(self) -> float | None:
        """Bits of its weights over their number, where the server (llama.cpp) says so."""
        size, parameters = self._meta("size"), self.parameters
        return 8 * size / parameters if size and parameters else None

    def is_called(self, name: str) -> bool:
        """Whether an answer in that name is this model's: its id, its root, or a dated id."""
        dated = name.removeprefix(f"{self.id}-")
        return name in (self.id, self.root) or (name != dated and dated.replace("-", "").isdigit())

    def _meta(self, key: str) -> int | None:
        value = self.meta.get(key) if isinstance(self.meta, dict) else None
        return value if type(value) is int and value >= 0 else None


class _Models(msgspec.Struct, frozen=True):
    data: list[ServedModel]


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None


def read_models(body: bytes) -> list[ServedModel]:
    """The list of GET /models."""
    return _decode(body, _Models, "a list of models").data


def read_answer(body: bytes, request: Request, *, chat: bool) -> tuple[str | None, Completion]:
    """The name of the model that answered, if it says so, and its answer up to the first stop.

    Token counts are the server's, 0 where it gives none.  Its "stop" stands for both a stop string
    and the end of the text.
    """
    answer = _decode(body, _Answer, "an answer")
    if len(answer.choices) != 1:
        raise BadReplyError(f"the reply holds {len(answer.choices)} answers to one question")
    [choice] = answer.choices
    text, end = _text(choice, chat), choice.finish_reason
    if end not in _ENDS:
        told = "does not say why it ended" if end is None else f'ended by "{printable(end)}"'
        raise BadReplyError(f"the answer {told}, so it may not be whole")
    usage = answer.usage or _Usage()
    _check_length(text, usage.completion_tokens, request.max_tokens)
    cut = _cut(text, request.stop)
    reason = _ENDS[end] if cut == text else "stop"
    completion = Completion(
        cut, reason, _count(usage.prompt_tokens), _count(usage.completion_tokens)
    )
    return answer.model, completion


def complaint(body: bytes, secret: str | None = None) -> str:
    """What an error reply says, as ": words" to put behind its status; empty if nothing."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = body.decode("utf-8", "replace")
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    told = str(found or "")
    if secret:
        told = told.replace(secret, "[key]")
    told = printable(told)
    return f": {told}" if told else ""


def printable(text: str, longest: int = 160) -> str:
    """A server's words as one line that is safe to show."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * longest]).split())
    return line if len(line) <= longest else f"{line[:longest]}..."


def _decode(body: bytes, kind: type[T], what: str) -> T:
    if body.lstrip()[:5] in (b"data:", b"event"):
        raise BadReplyError("it streams its answer, although it was not asked to")
    try:
        return msgspec.json.decode(body.decode(), type=kind)
    except UnicodeDecodeError as error:
        raise BadReplyError("the reply is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise BadReplyError(f"the reply is not {what}{complaint(body)} ({error})") from error
    except msgspec.DecodeError as error:
        raise BadReplyError(f"the reply is not whole JSON ({error})") from error


def _text(choice: _Choice, chat: bool) -> str:
    if chat:
        if choice.message is None:
            raise BadReplyError("the answer has no message")
        return choice.message.content or ""
    if choice.text is None:
        raise BadReplyError("the answer has no text")
    return choice.text


def _check_length(text: str, tokens: int | None, max_tokens: int) -> None:
    """Refuse an answer that was not held to its limit; some servers count the end as one more."""
    if (tokens or 0) > max_tokens + 1 or len(text) > LONGEST_TOKEN * max_tokens:
        told = f"{tokens:,} tokens" if tokens else f"{len(text):,} characters"
        raise BadReplyError(f"the answer has {told}, but max_tokens was {max_tokens}")


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stops, whichever of them the server minded."""
    return text[: min([at for stop in stops if (at := text.find(stop)) >= 0], default=len(text))]


def _count(tokens: int | None) -> int:
    return max(0, tokens or 0)
