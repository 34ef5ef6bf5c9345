"""Text to token ids and back, and the chat template that turns a conversation into a prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import tokenizers

from lichen.errors import InputError

if TYPE_CHECKING:
    import jinja2

#: What the decoder writes for bytes that are not (yet) a character.
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class TokenizerSource(Protocol):
    """Where a tokenizer comes from: an open checkpoint."""

    @property
    def path(self) -> Path:
        """The model's folder or file, for messages."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        ...

    def tokenizer_files(self) -> Mapping[str, bytes]:
        """Hugging Face tokenizer files by name."""
        ...


class _Model(msgspec.Struct):
    vocab: msgspec.Raw


class _TokenizerJson(msgspec.Struct):
    """What every ``tokenizer.json`` has."""

    model: _Model


class Tokenizer:
    """A model's tokenizer: the ``tokenizer.json`` of its checkpoint with its special tokens."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        name: str,
        special: Mapping[str, str] | None = None,
        eos_ids: frozenset[int] = frozenset(),
        template: str | None = None,
    ) -> None:
        self._backend = backend
        self._name = name
        self._special = dict(special or {})
        self._template = template
        self.eos_ids = eos_ids

    @classmethod
    def load(cls, source: TokenizerSource) -> Tokenizer:
        """The tokenizer of an open checkpoint; InputError when it has none or a damaged one."""
        files = source.tokenizer_files()
        backend = _backend(_tokenizer_json(files, source.path), source.path)
        settings = _json(files, "tokenizer_config.json", source.path)
        special = _special_tokens(settings)
        return cls(
            backend,
            name=str(source.path),
            special=special,
            eos_ids=_eos_ids(backend, special, files, source),
            template=_chat_template(files, settings, source.path),
        )

    @staticmethod
    def require(source: TokenizerSource) -> None:
        """InputError where a checkpoint has no tokenizer, or one that is damaged.

        All of what `load` reads but the entries of the vocabulary, which take most of its time.
        """
        files = source.tokenizer_files()
        data = _tokenizer_json(files, source.path)
        try:
            data.decode()
            msgspec.json.decode(data, type=_TokenizerJson)
        except (ValueError, RecursionError) as error:  # msgspec's and Unicode's are ValueErrors
            raise _unreadable(source.path, error) from None
        settings = _json(files, "tokenizer_config.json", source.path)
        _chat_template(files, settings, source.path)
        _declared_eos(files, source)

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest token id; a model may have more rows than that."""
        return max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def same_ids(self, other: Tokenizer) -> bool:
        """Whether both mean the same by every token id."""
        ours, theirs = (t._backend.get_vocab(with_added_tokens=True) for t in (self, other))
        return bool(ours == theirs)

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text, None where the model has none."""
        return self._id("bos_token")

    @property
    def has_chat(self) -> bool:
        """Whether the model comes with a chat template."""
        return self._template is not None

    @property
    def chat_template(self) -> str | None:
        """The source of the chat template."""
        return self._template

    @property
    def special(self) -> Mapping[str, str]:
        """Text of each special token by its role ("bos_token")."""
        return self._special

    def encode(self, text: str, *, special: bool = True, bos: bool | None = None) -> list[int]:
        """Token ids of a text.

        special  whether the text of a special token ("<|im_end|>") means the token; switch it
                 off for text from strangers
        bos      begin with the begin-of-text token: True, False, or as the tokenizer does (None);
                 never a second time before a text that already begins with it, as rendered chat
                 templates often do
        """
        backend = self._backend if special else self._literal
        begin = self._special.get("bos_token")
        starts = special and begin is not None and text.startswith(begin)
        usual = bos is None and not starts
        _require_unicode(text)
        ids = list(backend.encode(text, add_special_tokens=usual).ids)
        if bos and not starts:
            if self.bos_id is None:
                raise InputError(f"{self._name}: has no token that begins a text.")
            return [self.bos_id, *ids]
        return ids

    def encode_literally(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode` each text without special tokens, on several threads."""
        for text in texts:
            _require_unicode(text)
        return [part.ids for part in self._literal.encode_batch_fast(list(texts))]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Text of token ids; incomplete characters become U+FFFD."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def stream(self) -> StreamDecoder:
        """A decoder for tokens that come one by one."""
        return StreamDecoder(self)

    def chat(self, messages: Sequence[Mapping[str, Any]], *, generation_prompt: bool = True) -> str:
        """The prompt for a conversation, by the model's own chat template.

        messages           {"role": "system" | "user" | "assistant", "content": text}
        generation_prompt  whether it ends where the model is to answer

        Raises InputError when there is no template, or it cannot render these messages.
        """
        if self._template is None:
            raise InputError(f"{self._name}: has no chat template; use it without --chat.")
        try:
            rendered = self._compiled.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=generation_prompt,
                tools=None,
                documents=None,
                **self._special,
            )
        # A template is a stranger's program: whatever comes out of it is its failure.
        except Exception as error:
            raise InputError(f"{self._name}: its chat template failed: {error}.") from None
        return rendered

    @cached_property
    def _literal(self) -> tokenizers.Tokenizer:
        """The same tokenizer, blind to special tokens in the text."""
        twin = tokenizers.Tokenizer.from_str(self._backend.to_str())
        twin.encode_special_tokens = True
        return twin

    @cached_property
    def _compiled(self) -> jinja2.Template:
        from lichen.chat_template import environment  # which not every verb needs

        return environment().from_string(self._template or "")

    def _id(self, role: str) -> int | None:
        token = self._special.get(role)
        return None if token is None else self._backend.token_to_id(token)


class StreamDecoder:
    """Text from tokens one by one: gives out what no later token can change.

    All pieces and the flush together are the decoded text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._settled: list[int] = []
        self._pending: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        """Take the next token; the text that became certain, often a word, at times nothing."""
        self._pending.append(token)
        text = self._text()
        certain = text.rstrip(_INCOMPLETE)
        piece = certain[self._given :]
        if len(certain) == len(text):
            # A clean end: from here on, these tokens are only the context of the next ones.
            self._settled, self._pending, self._given = self._pending, [], 0
        else:
            self._given = max(self._given, len(certain))
        return piece

    def flush(self) -> str:
        """The rest, with U+FFFD for characters that were never completed."""
        piece = self._text()[self._given :]
        self._settled, self._pending, self._given = [], [], 0
        return piece

    def _text(self) -> str:
        """Text of the pending tokens, decoded after the settled ones: some tokenizers write the
        first token of a text without the space that it has elsewhere."""
        before = self._tokenizer.decode(self._settled)
        return self._tokenizer.decode(self._settled + self._pending)[len(before) :]


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("the text holds a lone surrogate, which is not Unicode.") from None


def _tokenizer_json(files: Mapping[str, bytes], path: Path) -> bytes:
    if "tokenizer.json" not in files:
        raise InputError(
            f"{path}: has no tokenizer.json; fetch the model again with its tokenizer,"
            " or save it with transformers' AutoTokenizer(...).save_pretrained()."
        )
    return files["tokenizer.json"]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: its tokenizer.json cannot be read ({error}).")


def _backend(data: bytes, path: Path) -> tokenizers.Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_str(data.decode())
    # The library raises bare Exception for content that it cannot read.
    except Exception as error:
        raise _unreadable(path, error) from None
    backend.no_truncation()
    backend.no_padding()
    return backend


def _json(files: Mapping[str, bytes], name: str, path: Path) -> dict[str, Any]:
    """A JSON object among the files; empty where it is absent."""
    try:
        content = json.loads(files.get(name, b"{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its {name} is not valid JSON ({error}).") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: its {name} must hold a JSON object.")
    return content


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """Text of each special token by role ("bos_token"); written as text or as an object."""
    special = {}
    for role in ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token"):
        token = settings.get(role)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            special[role] = text
    return special


def _eos_ids(
    backend: tokenizers.Tokenizer,
    special: Mapping[str, str],
    files: Mapping[str, bytes],
    source: TokenizerSource,
) -> frozenset[int]:
    """Every token that ends an answer.

    generation_config.json decides, else config.json; a chat model's end of turn is often named by
    the tokenizer alone, so that one counts too.
    """
    ids = _declared_eos(files, source)
    if "eos_token" in special:
        ids = [*ids, backend.token_to_id(special["eos_token"])]
    return frozenset(token for token in ids if token is not None)


def _declared_eos(files: Mapping[str, bytes], source: TokenizerSource) -> list[int | None]:
    generation = _json(files, "generation_config.json", source.path)
    declared = generation.get("eos_token_id", source.config.get("eos_token_id"))
    ids = declared if isinstance(declared, list) else [declared]
    if any(type(token) is not int for token in ids if token is not None):
        raise InputError(f"{source.path}: eos_token_id is {declared!r}, must be whole numbers.")
    return ids


def _chat_template(
    files: Mapping[str, bytes], settings: Mapping[str, Any], path: Path
) -> str | None:
    """The default chat template, from its own file or from tokenizer_config.json."""
    if "chat_template.jinja" in files:
        return files["chat_template.jinja"].decode(errors="replace")
    template = settings.get("chat_template")
    if template is None:
        template = _json(files, "chat_template.json", path).get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
