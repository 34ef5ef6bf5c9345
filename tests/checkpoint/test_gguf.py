"""GGUF files as checkpoints: names, order of rows, config, and what is refused."""

import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from safetensors.numpy import load_file
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.tiny import CHAT_TEMPLATE, write_json, write_tiny_model
from transformers import AutoTokenizer

from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.atomic import write_tokenizer
from lichen.errors import InputError
from lichen.tokenizer import Tokenizer

MODEL_TYPES = ("llama", "qwen2")


def tiny(tmp_path: Path, model_type: Any = "qwen2", **options: Any) -> tuple[Path, Path]:
    """A tiny folder and the GGUF file made of it."""
    model = {k: options.pop(k) for k in ("tied", "head_dim", "layers") if k in options}
    folder = write_tiny_model(tmp_path / "hf", model_type, **model)
    return folder, write_tiny_gguf(tmp_path / "tiny.gguf", folder, **options)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_tensors_are_those_of_the_folder(tmp_path: Path, model_type: str, tied: bool) -> None:
    folder, path = tiny(tmp_path, model_type, tied=tied)
    checkpoint = open_checkpoint(path)
    original = load_file(folder / "model.safetensors")
    assert set(checkpoint.names()) == set(original)
    for name, weight in original.items():
        assert checkpoint.shape(name) == weight.shape
        assert checkpoint.dtype(name) == "F32"
        np.testing.assert_array_equal(checkpoint.read(name), weight, err_msg=name)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("head_dim", [16, 8], ids=["usual_heads", "narrow_heads"])
def test_config_is_that_of_the_folder(tmp_path: Path, model_type: str, head_dim: int) -> None:
    folder, path = tiny(tmp_path, model_type, head_dim=head_dim)
    original = json.loads((folder / "config.json").read_text())
    config = open_checkpoint(path).config
    assert config.items() <= (original | {"torch_dtype": "float32"}).items()
    decisive = {
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "rms_norm_eps",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "rope_theta",
        "tie_word_embeddings", "hidden_act", "model_type",
    }  # fmt: skip
    assert decisive <= config.keys()
    assert ("head_dim" in config) == (head_dim == 8)


@pytest.mark.parametrize("kind", [GgmlType.F16, GgmlType.BF16, GgmlType.Q8_0, GgmlType.Q4_1])
def test_stored_types(tmp_path: Path, kind: GgmlType) -> None:
    folder, path = tiny(tmp_path, "llama", kind=kind)
    checkpoint = open_checkpoint(path)
    name = "model.layers.1.self_attn.q_proj.weight"
    weight = load_file(folder / "model.safetensors")[name]
    assert checkpoint.dtype(name) == kind.name
    bound = {"F16": 0.001, "BF16": 0.01, "Q8_0": 0.01, "Q4_1": 0.1}[kind.name]
    assert np.abs(checkpoint.read(name).astype(np.float32) - weight).max() < bound


def test_description_names_what_the_weights_were(tmp_path: Path) -> None:
    _, path = tiny(
        tmp_path,
        kind=GgmlType.Q8_0,
        change=lambda w: w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0),
    )
    assert open_checkpoint(path).description == "Tiny, dequantized Q8_0 GGUF"


def test_description_of_plain_floats(tmp_path: Path) -> None:
    _, path = tiny(tmp_path, change=lambda w: w.add_file_type(gguf.LlamaFileType.ALL_F32))
    assert open_checkpoint(path).description == "Tiny, float32 GGUF"


def test_digest_is_the_files_and_follows_its_content(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    before = open_checkpoint(path).digest()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert len(before) == 64
    assert open_checkpoint(path).digest() != before


def test_alignment_other_than_the_usual(tmp_path: Path) -> None:
    folder, path = tiny(tmp_path, change=lambda w: w.add_custom_alignment(256))
    checkpoint = open_checkpoint(path)
    weight = load_file(folder / "model.safetensors")["model.norm.weight"]
    np.testing.assert_array_equal(checkpoint.read("model.norm.weight"), weight)


def test_version_2_is_read(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    patch(path, 4, struct.pack("<I", 2))
    assert open_checkpoint(path).config["model_type"] == "qwen2"


def test_linear_rope_scaling(tmp_path: Path) -> None:
    def stretch(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    _, path = tiny(tmp_path, change=stretch)
    scaling = open_checkpoint(path).config["rope_scaling"]
    assert scaling == {"rope_type": "linear", "factor": 4.0}


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN), "rope.scaling.type"),
        (lambda w: w.add_expert_count(8), "expert_count"),
        (lambda w: w.add_sliding_window(64), "attention.sliding_window"),
        (lambda w: w.add_float32("qwen2.logit_scale", 0.5), "logit_scale"),
        (lambda w: w.add_value_length(7), "attention.value_length"),
    ],
    ids=["yarn", "experts", "sliding_window", "unknown_key", "uneven_heads"],
)
def test_metadata_that_changes_numbers_is_refused(
    tmp_path: Path, change: Callable[[gguf.GGUFWriter], None], words: str
) -> None:
    _, path = tiny(tmp_path, change=change)
    refused(path, words)


def test_unknown_architecture(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(path, "architecture 'mamba'")


def test_tensor_of_an_unknown_part(tmp_path: Path) -> None:
    _, path = tiny(
        tmp_path, change=lambda w: w.add_tensor("rope_freqs.weight", np.ones(8, np.float32))
    )
    refused(path, "rope_freqs.weight")


def test_unsupported_block_type_is_named(tmp_path: Path) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        blocks = np.zeros((1, gguf.GGML_QUANT_SIZES[GgmlType.IQ4_XS][1]), np.uint8)
        writer.add_tensor("output.weight", blocks, raw_dtype=GgmlType.IQ4_XS)

    _, path = tiny(tmp_path, change=add)
    refused(path, "IQ4_XS")


def test_versions_1_and_big_endian_are_named(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    patch(path, 4, struct.pack("<I", 1))
    refused(path, "version 1")
    patch(path, 4, struct.pack(">I", 3))
    refused(path, "big-endian")


def test_cut_anywhere_is_one_clear_error(tmp_path: Path) -> None:
    _, path = tiny(tmp_path, layers=1)
    data = path.read_bytes()
    header = gguf.GGUFReader(path).data_offset
    cuts = itertools.chain(range(0, header, 37), range(header, len(data), 4099), [len(data) - 1])
    for cut in cuts:
        path.write_bytes(data[:cut])
        refused(path, "")


def test_mutated_numbers_never_crash(tmp_path: Path) -> None:
    """Every 4 bytes outside the strings' middle, overwritten by absurd numbers: read or refused."""
    _, path = tiny(tmp_path, layers=1)
    data = path.read_bytes()
    header = gguf.GGUFReader(path).data_offset
    rng = np.random.default_rng(0)
    places = [4, 8, 12, 16, 20, *rng.integers(24, header - 8, 250).tolist()]
    absurd = [0, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 1 << 40, int(rng.integers(1 << 62))]
    for place in places:
        for value in absurd:
            changed = bytearray(data)
            changed[place : place + 8] = struct.pack("<Q", value)
            path.write_bytes(changed)
            try:
                checkpoint = open_checkpoint(path)
                for name in checkpoint.names():
                    checkpoint.read(name)
                Tokenizer.load(checkpoint)
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017


def test_file_that_shrinks_after_opening(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    checkpoint = open_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-4096])
    last = max(checkpoint.names(), key=lambda name: checkpoint._entry(name).offset)
    with pytest.raises(InputError, match=r"shorter than it says; .*\(tensor output_norm.weight\)"):
        checkpoint.read(last)


def test_a_file_that_changes_after_opening_is_named(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.changed() == ""
    path.unlink()
    assert checkpoint.changed() == path.name


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    with pytest.raises(InputError, match=r"no tensor nonsense\."):
        open_checkpoint(path).read("nonsense.")


# --- its tokenizer -----------------------------------------------------------------------------


def test_tokenizer_is_that_of_the_folder(tmp_path: Path) -> None:
    folder, path = tiny(tmp_path)
    ours, theirs = (Tokenizer.load(open_checkpoint(p)) for p in (path, folder))
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text)
        assert ours.encode(text, special=False) == theirs.encode(text, special=False)
    assert ours.eos_ids == theirs.eos_ids == {0, 2}
    assert ours.vocab_size == theirs.vocab_size
    messages = [{"role": "user", "content": "hi"}]
    assert ours.chat(messages) == theirs.chat(messages)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("add_bos", [False, True], ids=["plain", "with_bos"])
def test_written_tokenizer_is_read_by_transformers(
    tmp_path: Path, model_type: str, add_bos: bool
) -> None:
    _, path = tiny(tmp_path, model_type, pre="qwen2", add_bos=add_bos and model_type == "llama")
    checkpoint, out = open_checkpoint(path), tmp_path / "out"
    tokenizer = Tokenizer.load(checkpoint)
    out.mkdir()
    write_tokenizer(checkpoint, out)
    write_json(out / "config.json", checkpoint.config)
    theirs = AutoTokenizer.from_pretrained(out)
    for text in TEXTS:
        assert tokenizer.encode(text) == theirs(text).input_ids
    assert theirs.eos_token == "<|im_end|>"
    assert theirs.chat_template == CHAT_TEMPLATE


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "gpt-2", "starcoder"])
def test_other_ways_to_split_are_read_by_transformers(tmp_path: Path, pre: str) -> None:
    _, path = tiny(tmp_path, "llama", pre=pre)
    checkpoint, out = open_checkpoint(path), tmp_path / "out"
    out.mkdir()
    write_tokenizer(checkpoint, out)
    write_json(out / "config.json", checkpoint.config)
    tokenizer, theirs = Tokenizer.load(checkpoint), AutoTokenizer.from_pretrained(out)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids == theirs(text).input_ids
        assert tokenizer.decode(ids, skip_special=False) == text


def test_bos_flag(tmp_path: Path) -> None:
    _, path = tiny(tmp_path, add_bos=True)
    tokenizer = Tokenizer.load(open_checkpoint(path))
    plain = tokenizer.encode("def", bos=False)
    assert tokenizer.encode("def") == [0, *plain]
    assert tokenizer.encode("<|endoftext|>def") == [0, *plain]


@pytest.mark.parametrize(
    ("pre", "words"), [("bloom", "'bloom'"), ("tekken", "'tekken'")], ids=["bloom", "tekken"]
)
def test_unknown_splitting_is_refused(tmp_path: Path, pre: str, words: str) -> None:
    _, path = tiny(tmp_path, pre=pre)
    with pytest.raises(InputError, match=words):
        Tokenizer.load(open_checkpoint(path))


def test_tokenizer_that_does_not_say_how_it_splits(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"tokenizer.ggml.pre", b"tokenizer.ggml.xre"))
    with pytest.raises(InputError, match="called None"):
        Tokenizer.load(open_checkpoint(path))


def test_sentencepiece_is_refused_in_words(tmp_path: Path) -> None:
    _, path = tiny(tmp_path)
    kind = struct.pack("<IQ", 8, 4)
    data = path.read_bytes()
    assert kind + b"gpt2" in data
    path.write_bytes(data.replace(kind + b"gpt2", struct.pack("<IQ", 8, 5) + b"llama"))
    with pytest.raises(InputError, match=r"kind 'llama'.*Hugging Face folder"):
        Tokenizer.load(open_checkpoint(path))


TEXTS = (
    "def fibonacci(n):\n    return n  # 1234567 €\n\n\n",
    "<|im_start|>user\n  Hello,  World! it's we'll<|im_end|>",
    "héllo e\u0301 \u212b ﬁ 日本語 🎉 \t\r\n x=1\u00a02",
    "",
    " ",
)


def refused(path: Path, words: str) -> None:
    """Opening must fail with one error of one or two lines that names the file."""
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert words in message
    assert len(message.splitlines()) <= 2


def patch(path: Path, at: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)
