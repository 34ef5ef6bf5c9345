"""A Hugging Face tokenizer as the metadata of a GGUF file: the inverse of `gguf_tokenizer`.

Which token plays which part in filling in the middle goes by the names that models use for them
(llama.cpp, ``llama-vocab.cpp``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lichen.checkpoint.gguf_tokenizer import (
    CONTROL,
    END_OF_GENERATION,
    NORMAL,
    PRE,
    UNUSED,
    USER_DEFINED,
)
from lichen.checkpoint.protocol import Checkpoint
from lichen.errors import InputError
from lichen.tokenizer import Tokenizer

_FILL_IN_THE_MIDDLE = {
    "fim_pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>"),
    "fim_suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>"),
    "fim_mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>"),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"),
    "fim_rep": ("<|repo_name|>", "<|fim_repo|>", "<fim-repo>", "<reponame>", "<repo_name>"),
    "fim_sep": ("<|file_sep|>", "<file_sep>"),
}

#: What a byte-level BPE of Hugging Face must say, and what its absence means.
_PLAIN: dict[str, Any] = {
    "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
    "fuse_unk": False, "byte_fallback": False,
}  # fmt: skip


def vocabulary(source: Checkpoint, rows: int) -> dict[str, Any]:
    """The metadata ``tokenizer.*`` for a model whose embedding has `rows` rows.

    InputError for a tokenizer that is not a byte-level BPE, or splits text in a way for which
    GGUF, or lichen, has no name.
    """
    tokenizer = Tokenizer.load(source)
    content = json.loads(source.tokenizer_files()["tokenizer.json"])
    model, where = content["model"], str(source.path)
    _require_bpe(where, model)
    added = {token["id"]: token for token in content.get("added_tokens") or []}
    tokens = {token: text for text, token in model["vocab"].items()}
    tokens |= {token: entry["content"] for token, entry in added.items()}
    if max(tokens) >= rows:
        raise InputError(f"{where}: token {max(tokens)} has no row in the embedding ({rows}).")
    metadata: dict[str, Any] = {
        "model": "gpt2",
        "pre": _pre(where, content),
        "tokens": [tokens.get(token, f"[PAD{token}]") for token in range(rows)],
        "token_type": [_kind(token, tokens, added) for token in range(rows)],
        "merges": [m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
    }
    ids = {text: token for token, text in tokens.items()}
    metadata |= {f"{role}_token_id": t for role, t in _roles(source, tokenizer, ids).items()}
    metadata |= {f"add_{role}_token": flag for role, flag in _ends(where, tokenizer).items()}
    found = {f"tokenizer.ggml.{key}": value for key, value in metadata.items() if value != []}
    if tokenizer.chat_template is not None:
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found


def _require_bpe(where: str, model: Mapping[str, Any]) -> None:
    kind = model.get("type")
    odd = [key for key, usual in _PLAIN.items() if (model.get(key) or usual) != usual]
    if kind != "BPE" or odd:
        what = f"of the kind {kind!r}" if kind != "BPE" else f"a BPE with {', '.join(odd)}"
        raise InputError(
            f"{where}: its tokenizer is {what}; lichen writes byte-level BPE alone into GGUF."
        )


def _kind(token: int, tokens: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> int:
    if token in added:
        return CONTROL if added[token].get("special") else USER_DEFINED
    return NORMAL if token in tokens else UNUSED


def _pre(where: str, content: Mapping[str, Any]) -> str:
    """The name of the way in which text is split before the merges."""
    splitting = _split(content)
    for name in ("smollm", *PRE):  # "starcoder" is another name of the same
        normalizer, steps, whole_words = PRE[name]
        if splitting == (normalizer, [_essence(step) for step in steps], whole_words):
            return name
    raise InputError(
        f"{where}: its tokenizer splits text in a way that lichen has no GGUF name for; it knows"
        f" {', '.join(PRE)}."
    )


def _split(content: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]], bool]:
    pre = content.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers") if pre.get("type") == "Sequence" else [pre]
    normalizer = content.get("normalizer")
    whole_words = bool(content["model"].get("ignore_merges"))
    return normalizer, [_essence(step) for step in steps or []], whole_words


def _essence(step: Mapping[str, Any]) -> dict[str, Any]:
    """A splitting step without what does not touch tokens, and with what goes without saying."""
    usual = {"use_regex": True} if step.get("type") == "ByteLevel" else {}
    return {k: v for k, v in (usual | dict(step)).items() if k != "trim_offsets"}


def _roles(source: Checkpoint, tokenizer: Tokenizer, ids: Mapping[str, int]) -> dict[str, int]:
    """Token ids by the part that a token plays."""
    named = {"bos": "bos", "eos": "eos", "padding": "pad", "unknown": "unk"}
    roles: dict[str, Any] = {
        role: ids.get(tokenizer.special.get(f"{name}_token", ""), _declared(source, name))
        for role, name in named.items()
    }
    roles |= {
        role: next((ids[text] for text in texts if text in ids), None)
        for role, texts in _FILL_IN_THE_MIDDLE.items()
    }
    ends = {roles["eos"]} | {ids[text] for text in END_OF_GENERATION if text in ids}
    further = sorted(tokenizer.eos_ids - ends)
    roles |= dict(zip(("eot", "eom"), further, strict=False))
    return {role: token for role, token in roles.items() if token is not None}


def _declared(source: Checkpoint, name: str) -> int | None:
    """The id in config.json, where the tokenizer names none; the first of several."""
    token = source.config.get(f"{name}_token_id")
    first = token[0] if isinstance(token, list) and token else token
    return first if isinstance(first, int) else None


def _ends(where: str, tokenizer: Tokenizer) -> dict[str, bool]:
    """Whether the tokenizer begins and ends every text with a special token."""
    plain, usual = tokenizer.encode("a", bos=False), tokenizer.encode("a")
    at = next((i for i in range(len(usual)) if usual[i : i + len(plain)] == plain), 0)
    before, after = usual[:at], usual[at + len(plain) :]
    if before not in ([], [tokenizer.bos_id]) or len(after) > 1:
        raise InputError(f"{where}: its tokenizer puts {usual} around a text, which GGUF cannot.")
    return {"bos": bool(before), "eos": bool(after)}
