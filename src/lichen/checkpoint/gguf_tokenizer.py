"""The tokenizer inside a GGUF file, as the Hugging Face files that mean the same.

GGUF keeps tokens, their kinds and the merges in metadata, but names only the *kind* of splitting
before the merges (``tokenizer.ggml.pre``); the patterns behind the names are in llama.cpp's
``llama-vocab.cpp`` and in the published ``tokenizer.json`` files that they were taken from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lichen.errors import InputError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5

#: Names of tokens that end an answer, whatever the metadata calls "eos" (as llama.cpp has it).
END_OF_GENERATION = frozenset(
    {
        "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>",
        "<|eot|>", "<end_of_turn>", "<EOT>", "</s>",
    }
)  # fmt: skip

_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_PATTERN = _QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_GPT2 = _BYTES | {"use_regex": True}


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


_DIGITS = {"type": "Digits", "individual_digits": True}
_NFC = {"type": "NFC"}

#: ``tokenizer.ggml.pre`` to (normalizer, splitting steps, whether whole words skip the merges).
PRE: dict[str, tuple[dict[str, Any] | None, list[dict[str, Any]], bool]] = {
    "gpt-2": (None, [_GPT2], False),
    "starcoder": (None, [_DIGITS, _GPT2], False),
    "smollm": (None, [_DIGITS, _GPT2], False),
    "qwen2": (_NFC, [_split(_QWEN2_PATTERN), _BYTES], False),
    "llama-bpe": (None, [_split(_LLAMA3_PATTERN), _BYTES], True),
}


def tokenizer_files(path: Path, metadata: Mapping[str, Any]) -> dict[str, bytes]:
    """tokenizer.json, tokenizer_config.json and generation_config.json for transformers."""
    vocabulary = _Vocabulary(path, metadata)
    contents = {
        "tokenizer.json": vocabulary.tokenizer(),
        "tokenizer_config.json": vocabulary.tokenizer_config(),
        "generation_config.json": vocabulary.generation_config(),
    }
    return {name: _dump(content) for name, content in contents.items()}


def _dump(content: dict[str, Any]) -> bytes:
    # Not indented: json is many times slower with it, and a vocabulary has 300,000 entries.
    return (json.dumps(content, ensure_ascii=False) + "\n").encode()


class _Vocabulary:
    """The tokenizer part of the metadata, checked once."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._path = path
        self._metadata = metadata
        model = self._get("model")
        if model is None:
            raise InputError(f"{path}: has no tokenizer.")
        if model != "gpt2":
            raise InputError(
                f"{path}: its tokenizer is of the kind {model!r}; lichen reads 'gpt2' (byte-level"
                " BPE) from GGUF. Use the model's Hugging Face folder instead."
            )
        self.pre = self._get("pre")
        if self.pre not in PRE:
            raise InputError(
                f"{path}: its tokenizer splits text in a way called {self.pre!r}; lichen knows"
                f" {', '.join(PRE)}. Use the model's Hugging Face folder instead."
            )
        self.tokens: list[str] = self._strings("tokens")
        self.kinds = self._kinds()
        self.merges = self._merges()

    def tokenizer(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        normalizer, steps, whole_words = PRE[self.pre]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added_tokens(),
            "normalizer": normalizer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": self._post_processor(),
            "decoder": _BYTES,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": whole_words,
                "vocab": self._vocab(),
                "merges": self.merges,
            },
        }

    def tokenizer_config(self) -> dict[str, Any]:
        """The content of tokenizer_config.json; special tokens by name."""
        config: dict[str, Any] = {
            "tokenizer_class": "Qwen2Tokenizer" if self.pre == "qwen2" else "TokenizersBackend",
            "add_bos_token": self._adds_bos(),
            "add_prefix_space": False,
            "added_tokens_decoder": {
                str(token["id"]): {k: v for k, v in token.items() if k != "id"}
                for token in self._added_tokens()
            },
            "clean_up_tokenization_spaces": False,
        }
        for role, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
            token = self._special(name)
            config[f"{role}_token"] = None if token is None else self.tokens[token]
        context = self._metadata.get(f"{self._metadata.get('general.architecture')}.context_length")
        if isinstance(context, int):
            config["model_max_length"] = context
        template = self._metadata.get("tokenizer.chat_template")
        if isinstance(template, str):
            config["chat_template"] = template
        return config

    def generation_config(self) -> dict[str, Any]:
        """The content of generation_config.json: every token that ends an answer."""
        ends = [self._special(role) for role in ("eos", "eot", "eom")]
        ends += [
            token
            for token, (text, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
            if kind == CONTROL and text in END_OF_GENERATION
        ]
        content: dict[str, Any] = {
            "eos_token_id": list(dict.fromkeys(token for token in ends if token is not None))
        }
        for role, name in (("bos", "bos"), ("pad", "padding")):
            if (token := self._special(name)) is not None:
                content[f"{role}_token_id"] = token
        return content

    def _vocab(self) -> dict[str, int]:
        vocab = {
            text: token
            for token, (text, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
            if kind != UNUSED
        }
        if len(vocab) != len(self.kinds) - self.kinds.count(UNUSED):
            raise InputError(f"{self._path}: its tokenizer has the same token twice.")
        return vocab

    def _added_tokens(self) -> list[dict[str, Any]]:
        return [
            {
                "id": token,
                "content": self.tokens[token],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind != USER_DEFINED,
            }
            for token, kind in enumerate(self.kinds)
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]

    def _post_processor(self) -> dict[str, Any]:
        token = self._special("bos")
        if not self._adds_bos() or token is None:
            return _BYTES
        text = self.tokens[token]
        begin = {"SpecialToken": {"id": text, "type_id": 0}}
        first = [begin, {"Sequence": {"id": "A", "type_id": 0}}]
        return {
            "type": "TemplateProcessing",
            "single": first,
            "pair": [*first, begin, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
        }

    def _adds_bos(self) -> bool:
        """The flag where it is there; llama 3's files were made before it was."""
        return bool(self._get("add_bos_token", self.pre == "llama-bpe"))

    def _special(self, role: str) -> int | None:
        token = self._get(f"{role}_token_id")
        if token is None:
            return None
        if type(token) is not int or not 0 <= token < len(self.tokens):
            raise InputError(f"{self._path}: its {role} token is {token!r}, which is no token.")
        return token

    def _kinds(self) -> list[int]:
        kinds = self._get("token_type")
        if kinds is None:
            return [NORMAL] * len(self.tokens)
        if not isinstance(kinds, list) or len(kinds) != len(self.tokens):
            raise InputError(f"{self._path}: its tokenizer has not one kind for each token.")
        return kinds

    def _merges(self) -> list[list[str]]:
        # A merged piece never holds a space (byte-level BPE writes it as another character), but
        # a first character may stand for one: split at the first space that is not at the start.
        pairs = []
        for merge in self._strings("merges"):
            at = merge.find(" ", 1)
            if at < 0:
                raise InputError(f"{self._path}: {merge!r} in its tokenizer is not a merge.")
            pairs.append([merge[:at], merge[at + 1 :]])
        return pairs

    def _strings(self, key: str) -> list[str]:
        value = self._get(key)
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            raise InputError(f"{self._path}: its tokenizer has no {key}.")
        return value

    def _get(self, key: str, default: Any = None) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{key}", default)
