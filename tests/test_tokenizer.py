"""Encoding, decoding, streaming and chat templates; transformers is the oracle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import write_json, write_tiny_model
from transformers import AutoTokenizer

from lichen.checkpoint import open_checkpoint
from lichen.errors import InputError
from lichen.tokenizer import Tokenizer

CONVERSATION = [
    {"role": "system", "content": "You  write\ncode."},
    {"role": "user", "content": "<b>ü & 'x'</b> {{ no }}"},
]
TEXTS = (
    "def fibonacci(n):\n    return n  # 1234567 €\n\n\n",
    "<|im_start|>user\n  Hello,  World! it's we'll<|im_end|>",
    "héllo e\u0301 日本語 🎉 \t\r\n x=1\u00a02",
    "",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tokenizer") / "m", "llama")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(open_checkpoint(folder))


def load_with(folder: Path, out: Path, changes: Mapping[str, Any], **files: Any) -> Tokenizer:
    """The tokenizer of a copy of `folder` with changed settings and further JSON files."""
    write_tiny_model(out)
    config = json.loads((folder / "tokenizer_config.json").read_text()) | dict(changes)
    write_json(out / "tokenizer_config.json", config)
    for name, content in files.items():
        write_json(out / f"{name}.json", content)
    return Tokenizer.load(open_checkpoint(out))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_encodes_and_decodes_as_transformers(folder: Path, tokenizer: Tokenizer, text: str) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.encode(text)
    assert ids == theirs(text).input_ids
    assert tokenizer.decode(ids, skip_special=False) == theirs.decode(ids)
    assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_facts(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos_ids == {0, 2}
    assert tokenizer.bos_id is None
    assert tokenizer.vocab_size == 384
    assert tokenizer.has_chat


def test_special_text_can_be_taken_literally(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|im_end|>") == [2]
    literal = tokenizer.encode("<|im_end|>", special=False)
    assert 2 not in literal
    assert tokenizer.decode(literal) == "<|im_end|>"
    assert tokenizer.encode("<|im_end|>") == [2]


def test_many_texts_are_taken_literally_as_one_by_one(tokenizer: Tokenizer) -> None:
    texts = ["def f():\n", "", "<|im_end|> ä", "x" * 3000]
    expected = [tokenizer.encode(text, special=False) for text in texts]
    assert tokenizer.encode_literally(texts) == expected
    with pytest.raises(InputError, match="lone surrogate"):
        tokenizer.encode_literally(["fine", "\ud800"])


def test_begin_of_text(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with_bos = load_with(folder, tmp_path / "m", {"bos_token": {"content": "<|endoftext|>"}})
    plain = tokenizer.encode("def")
    assert with_bos.encode("def") == plain
    assert with_bos.encode("def", bos=True) == [0, *plain]
    assert with_bos.encode("<|endoftext|>def", bos=True) == [0, *plain]
    with pytest.raises(InputError, match="no token that begins a text"):
        tokenizer.encode("def", bos=True)


def test_lone_surrogate_is_an_input_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="surrogate"):
        tokenizer.encode("\ud800")


# --- streaming ---------------------------------------------------------------------------------


@given(text=st.text(max_size=40))
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, special=False)
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in ids] + [stream.flush()]
    assert "".join(pieces) == tokenizer.decode(ids)


@given(ids=st.lists(st.integers(0, 383), max_size=30))
@settings(max_examples=300)
def test_stream_of_any_tokens_is_their_text(tokenizer: Tokenizer, ids: list[int]) -> None:
    """Broken characters and special tokens included; and no piece ends in half a character."""
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in ids]
    assert not any(piece.endswith("\ufffd") for piece in pieces)
    assert "".join(pieces) + stream.flush() == tokenizer.decode(ids)


def test_stream_gives_text_out_at_once(tokenizer: Tokenizer) -> None:
    stream = tokenizer.stream()
    ids = tokenizer.encode("def é")
    pieces = [stream.push(token) for token in ids]
    assert pieces[-2:] == ["", "é"]
    assert all(pieces[:-2])


# --- end of an answer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "eos_token", "expected"),
    [
        ({"eos_token_id": 0}, None, {0}),
        ({"eos_token_id": [0, 1]}, None, {0, 1}),
        ({"eos_token_id": 0}, "<|im_end|>", {0, 2}),
        ({}, None, {2}),
        ({"eos_token_id": None}, "<|im_start|>", {1}),
    ],
    ids=["number", "list", "with_tokenizers", "from_config", "only_tokenizers"],
)
def test_eos_ids(
    folder: Path, tmp_path: Path, generation: Any, eos_token: str | None, expected: set[int]
) -> None:
    changed = load_with(
        folder, tmp_path / "m", {"eos_token": eos_token}, generation_config=generation
    )
    assert changed.eos_ids == expected


def test_eos_ids_that_are_nonsense(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="eos_token_id"):
        load_with(folder, tmp_path / "m", {}, generation_config={"eos_token_id": ["a"]})


# --- chat templates ----------------------------------------------------------------------------

TEMPLATES = {
    "whitespace": "{% for m in messages %}\n    {% if true %}\n[{{ m.role }}]\n    {% endif %}\n"
    "{% endfor %}\n{{- 'x' if add_generation_prompt }}\n",
    "tojson": "{{ messages | tojson }} {{ messages | tojson(indent=2) }}",
    "break": "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}",
    "special": "{{ eos_token }}{{ bos_token is defined }}{{ tools is none }}",
    "generation": "{% generation %}{{ messages[0].content }}{% endgeneration %}!",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% endfor %}{{ ns.n }}",
    "macro": "{% macro f(x) %}<{{ x | trim }}>{% endmacro %}{{ f(messages[0].content) }}",
    "methods": "{{ messages[1].content.split('&')[0].strip() | upper }}{{ messages[0].items() | "
    "list | length }}{{ messages[-1]['role'] }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompt", [True, False], ids=["prompt", "no_prompt"])
def test_renders_as_transformers(folder: Path, tmp_path: Path, name: str, prompt: bool) -> None:
    ours = load_with(folder, tmp_path / "m", {"chat_template": TEMPLATES[name]})
    theirs = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert ours.chat(CONVERSATION, generation_prompt=prompt) == theirs.apply_chat_template(
        CONVERSATION, tokenize=False, add_generation_prompt=prompt
    )


def test_default_template(folder: Path, tokenizer: Tokenizer) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    expected = theirs.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    assert tokenizer.chat(CONVERSATION) == expected
    assert tokenizer.encode(expected) == theirs(expected).input_ids


def test_template_file_goes_before_the_config(folder: Path, tmp_path: Path) -> None:
    load_with(folder, tmp_path / "m", {"chat_template": "from config"})
    (tmp_path / "m" / "chat_template.jinja").write_text("from file")
    assert Tokenizer.load(open_checkpoint(tmp_path / "m")).chat([]) == "from file"


def test_named_templates(folder: Path, tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    assert load_with(folder, tmp_path / "m", {"chat_template": named}).chat([]) == "a"


def test_date_of_today(folder: Path, tmp_path: Path) -> None:
    ours = load_with(folder, tmp_path / "m", {"chat_template": "{{ strftime_now('%Y') }}"})
    assert ours.chat([]).isdigit()


def test_no_template(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", chat_template=False)
    tokenizer = Tokenizer.load(open_checkpoint(folder))
    assert not tokenizer.has_chat
    with pytest.raises(InputError, match="no chat template"):
        tokenizer.chat(CONVERSATION)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for %}", "chat template failed"),
        ("{{ messages[9].content }}", "chat template failed"),
        ("{{ 1 // 0 }}", "chat template failed"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages[0].update({}) }}", "unsafe"),
        ("{% for a in range(999999) %}{% endfor %}", "Range too big"),
        ("{% include '/etc/hostname' %}", "chat template failed"),
        ("{{ self.__init__.__globals__ }}", "unsafe"),
    ],
    ids=[
        "raise",
        "syntax",
        "index",
        "zero",
        "escape",
        "append",
        "update",
        "range",
        "include",
        "self",
    ],
)
def test_template_that_fails_or_reaches_out(
    folder: Path, tmp_path: Path, template: str, words: str
) -> None:
    ours = load_with(folder, tmp_path / "m", {"chat_template": template})
    with pytest.raises(InputError, match=words):
        ours.chat(CONVERSATION)
    assert CONVERSATION[0].keys() == {"role", "content"}


# --- damaged files -----------------------------------------------------------------------------


def test_missing_tokenizer(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    for read in (Tokenizer.load, Tokenizer.require):
        with pytest.raises(InputError, match=r"has no tokenizer\.json"):
            read(open_checkpoint(folder))


DAMAGED = ["", "{", "[]", '{"model": 1}', "\x00", '{"model": ' + "[" * 100_000]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize("read", [Tokenizer.load, Tokenizer.require], ids=["load", "require"])
def test_damaged_file(tmp_path: Path, name: str, content: str, read: Any) -> None:
    folder = write_tiny_model(tmp_path / "m")
    (folder / name).write_text(content)
    if (name, content) == ("tokenizer_config.json", '{"model": 1}'):
        read(open_checkpoint(folder))
        assert not Tokenizer.load(open_checkpoint(folder)).has_chat
        return
    with pytest.raises(InputError, match=name):
        read(open_checkpoint(folder))


@pytest.mark.parametrize("read", [Tokenizer.load, Tokenizer.require], ids=["load", "require"])
def test_a_file_that_is_no_unicode(tmp_path: Path, read: Any) -> None:
    folder = write_tiny_model(tmp_path / "m")
    content = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(content.replace(b'"vocab"', b'"a": "\xff", "vocab"', 1))
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        read(open_checkpoint(folder))
