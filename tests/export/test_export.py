"""Whole models as GGUF files: read back by lichen, by the `gguf` package and by transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.quantized import INT4, INT8
from tests.tiny import ModelType, write_json, write_tiny_model, write_tiny_tokenizer
from transformers import AutoModelForCausalLM

from lichen.checkpoint import Checkpoint, open_checkpoint
from lichen.cli.main import run
from lichen.errors import InputError
from lichen.export import ASKED, ExportReport, export
from lichen.quantize import quantize
from lichen.recipe import Recipe
from lichen.schemes import in_floats
from lichen.tensor import FloatArray
from lichen.tokenizer import Tokenizer

MODEL_TYPES: tuple[ModelType, ...] = ("llama", "qwen2")

TEXTS = (
    "def fibonacci(n):\n    return n  # 1234567 €\n\n\n",
    "<|im_start|>user\n  Hello,  World! it's we'll<|im_end|>",
    "héllo e\u0301 日本語 🎉 \t\r\n x=1\u00a02",
    "",
)


def floats(checkpoint: Checkpoint, name: str) -> FloatArray:
    return in_floats(checkpoint.read(name)).astype(np.float32)


def exported(source: Path, kind: str = "auto") -> tuple[Checkpoint, ExportReport]:
    out = source.parent / "out.gguf"
    report = export(source, out, type=kind, force=True)
    assert report.bytes == out.stat().st_size
    return open_checkpoint(out), report


def equal_tokenizers(ours: Checkpoint, theirs: Checkpoint) -> None:
    a, b = Tokenizer.load(ours), Tokenizer.load(theirs)
    assert a.same_ids(b)
    assert a.eos_ids == b.eos_ids
    assert a.chat_template == b.chat_template
    for text in TEXTS:
        assert a.encode(text) == b.encode(text)
        assert a.encode(text, special=False) == b.encode(text, special=False)
        assert a.decode(a.encode(text)) == b.decode(b.encode(text))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_float_model_is_kept(
    tmp_path: Path, model_type: ModelType, tied: bool, dtype: str
) -> None:
    folder = write_tiny_model(tmp_path / "hf", model_type, tied=tied, dtype=dtype)
    source = open_checkpoint(folder)
    found, report = exported(folder)
    assert set(found.names()) == set(source.names())
    kind = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
    for name in source.names():
        assert found.dtype(name) == (kind if len(source.shape(name)) == 2 else "F32")
        np.testing.assert_array_equal(floats(found, name), floats(source, name), err_msg=name)
    assert all(tensor.error == 0 for tensor in report.tensors)
    assert found.config.items() <= (source.config | {"torch_dtype": "float32"}).items()
    equal_tokenizers(found, source)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_transformers_computes_the_same(tmp_path: Path, model_type: ModelType) -> None:
    pytest.importorskip("accelerate")  # transformers asks for it to read GGUF
    folder = write_tiny_model(tmp_path / "hf", model_type)
    _, report = exported(folder)
    ids = torch.tensor([[5, 99, 300, 7, 42]])
    with torch.no_grad():
        logits = [
            AutoModelForCausalLM.from_pretrained(tmp_path, **where, dtype=torch.float32)(ids).logits
            for where in ({"subfolder": "hf"}, {"gguf_file": report.path.name})
        ]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_narrow_heads_and_linear_rope(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "hf", "llama", head_dim=8)
    change(folder / "config.json", rope_scaling={"rope_type": "linear", "factor": 4.0})
    found, _ = exported(folder)
    assert found.config["head_dim"] == 8
    assert found.config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


# --- types -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ASKED[1:])
def test_every_type(tmp_path: Path, kind: str) -> None:
    folder = write_tiny_model(tmp_path / "hf", "llama", hidden=256, intermediate=512, tied=False)
    found, report = exported(folder, kind)
    types = {t.name: t.type for t in report.tensors}
    assert {n: found.dtype(n) for n in found.names()} == types
    base = kind.removesuffix("_M")
    assert types["model.layers.0.mlp.up_proj.weight"] == base
    assert types["model.norm.weight"] == "F32"
    floating = base in ("F32", "F16", "BF16", "Q8_0")
    assert types["lm_head.weight"] == (base if floating else "Q6_K")
    assert types["model.embed_tokens.weight"] == base
    metadata = gguf.GGUFReader(report.path).fields
    names = {t.name: t.value for t in gguf.LlamaFileType}
    usual = {"F32": "ALL_F32", "Q4_K": "MOSTLY_Q4_K_S", "Q5_K": "MOSTLY_Q5_K_S"}
    assert metadata["general.file_type"].contents() == names[usual.get(kind, f"MOSTLY_{kind}")]
    for tensor in report.tensors:
        assert tensor.error <= {"Q4": 0.01, "Q5": 3e-3}.get(tensor.type[:2], 5e-4)


def test_a_mixture_gives_some_layers_more(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "hf", hidden=256, intermediate=256, layers=16)
    _, report = exported(folder, "Q4_K_M")
    more = {t.name.split(".")[2]: t.type for t in report.tensors if "down_proj" in t.name}
    assert [i for i, kind in more.items() if kind == "Q6_K"] == [
        *("0", "1", "4", "7", "10", "13", "14", "15")
    ]


def test_rows_that_blocks_do_not_divide(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "hf", hidden=96, intermediate=80, head_dim=24)
    _, report = exported(folder, "Q4_K")
    types = {t.name.split(".")[-2]: (t.wanted, t.type) for t in report.tensors}
    assert types["up_proj"] == ("Q4_K", "Q5_0")
    assert types["down_proj"] == ("Q4_K", "F16")
    assert types["embed_tokens"] == ("Q6_K", "Q8_0")


# --- models that are quantized already ---------------------------------------------------------


def quantized(tmp_path: Path, recipe: Recipe, **options: Any) -> Path:
    folder = write_tiny_model(tmp_path / "hf", "llama", dtype="float16", **options)
    return quantize(folder, recipe, tmp_path / "quantized").path


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [(INT8, "Q8_0"), (INT4, "Q4_0")],
    ids=["int8", "int4"],
)
def test_codes_are_kept(tmp_path: Path, recipe: Recipe, kind: str) -> None:
    folder = quantized(tmp_path, recipe)
    source = open_checkpoint(folder)
    found, report = exported(folder)
    kept = [t for t in report.tensors if t.how == "codes"]
    assert len(kept) == 14
    assert {t.type for t in kept} == {kind}
    for tensor in report.tensors:
        assert tensor.error == 0
        np.testing.assert_array_equal(floats(found, tensor.name), floats(source, tensor.name))
    equal_tokenizers(found, source)


def test_another_type_rounds_a_second_time(tmp_path: Path) -> None:
    folder = quantized(tmp_path, INT8)
    _, report = exported(folder, "Q4_0")
    again = [t for t in report.tensors if t.how == "again"]
    assert len(again) == 14
    assert all(1e-3 < t.error < 1e-2 for t in again)


def test_scales_beyond_float16_are_chosen_anew(tmp_path: Path) -> None:
    """Weights of 1e-6 have scales below float16's smallest number in int8."""
    folder = write_tiny_model(tmp_path / "hf", "llama", dtype="float32")
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] *= np.float32(1e-4)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    made = quantize(folder, INT8, tmp_path / "quantized").path
    _, report = exported(made)
    how = {t.name: t.how for t in report.tensors}
    assert how[name] == "again"
    assert how["model.layers.0.mlp.gate_proj.weight"] == "codes"


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_gguf_file_is_copied(tmp_path: Path, model_type: ModelType) -> None:
    folder = write_tiny_model(tmp_path / "hf", model_type)
    path = write_tiny_gguf(tmp_path / "in.gguf", folder, kind=gguf.GGMLQuantizationType.Q8_0)
    source = open_checkpoint(path)
    found, report = exported(path)
    assert {t.how for t in report.tensors} == {"copied"}
    assert found.config == source.config
    for name in source.names():
        np.testing.assert_array_equal(floats(found, name), floats(source, name))
    equal_tokenizers(found, source)
    _, again = exported(path, "Q4_0")
    kinds = {t.name: (t.how, t.type) for t in again.tensors}
    assert kinds["model.layers.0.mlp.up_proj.weight"] == ("again", "Q4_0")


# --- the tokenizer -----------------------------------------------------------------------------


def change(path: Path, **fields: Any) -> None:
    write_json(path, json.loads(path.read_text("utf-8")) | fields)


def test_tokens_by_their_parts(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "hf", vocab=400)
    write_tiny_tokenizer(folder, vocab=390)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    names = ["prefix", "suffix", "middle", "pad"]
    first = max(content["model"]["vocab"].values()) + 1
    for token, text in enumerate([f"<|fim_{n}|>" for n in names] + ["<tool>"], start=first):
        special = text != "<tool>"
        content["added_tokens"].append({"id": token, "content": text, "special": special, **plain})
    write_json(path, content)
    found, report = exported(folder)
    fields = {k: f.contents() for k, f in gguf.GGUFReader(report.path).fields.items()}
    roles = ["fim_pre", "fim_suf", "fim_mid", "fim_pad"]
    ids = [fields[f"tokenizer.ggml.{role}_token_id"] for role in roles]
    assert ids == [first, first + 1, first + 2, first + 3]
    assert fields["tokenizer.ggml.token_type"][first : first + 6] == [3, 3, 3, 3, 4, 5]
    assert fields["tokenizer.ggml.eos_token_id"] == 2
    assert fields["tokenizer.ggml.padding_token_id"] == 0
    assert fields["tokenizer.ggml.bos_token_id"] == 0
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.ggml.pre"] == "qwen2"
    equal_tokenizers(found, open_checkpoint(folder))


def test_a_tokenizer_that_begins_every_text(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "hf", "llama")
    path = write_tiny_gguf(tmp_path / "in.gguf", folder, pre="llama-bpe", add_bos=True)
    source = open_checkpoint(path)
    for name, content in source.tokenizer_files().items():
        (folder / name).write_bytes(content)
    found, report = exported(folder)
    fields = gguf.GGUFReader(report.path).fields
    assert fields["tokenizer.ggml.pre"].contents() == "llama-bpe"
    assert fields["tokenizer.ggml.add_bos_token"].contents() is True
    equal_tokenizers(found, source)


# --- what is refused ---------------------------------------------------------------------------


def unigram(folder: Path) -> None:
    change(folder / "tokenizer.json", model={"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]})


def bytes_fallback(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    change(folder / "tokenizer.json", model=content["model"] | {"byte_fallback": True})


def odd_splitting(folder: Path) -> None:
    change(folder / "tokenizer.json", pre_tokenizer={"type": "Whitespace"})


def llama3_rope(folder: Path) -> None:
    factors = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling = {"rope_type": "llama3", "original_max_position_embeddings": 512, **factors}
    change(folder / "config.json", rope_scaling=scaling)


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unigram, "'Unigram'"),
        (bytes_fallback, "byte_fallback"),
        (odd_splitting, "no GGUF name"),
        (llama3_rope, "'llama3'"),
        (no_tokenizer, "no tokenizer.json"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_gguf_cannot_say(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = write_tiny_model(tmp_path / "hf", "llama")
    spoil(folder)
    with pytest.raises(InputError, match=words) as caught:
        export(folder, tmp_path / "out.gguf")
    assert str(folder) in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = write_tiny_model(tmp_path / "hf")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.up_proj\.weight: weights are not fin"):
        export(folder, tmp_path / "out.gguf", type="Q8_0")
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("linked", [False, True], ids=["file", "link"])
def test_a_part_of_the_model_is_not_replaced(tmp_path: Path, linked: bool) -> None:
    folder = write_tiny_model(tmp_path / "hf")
    weights = folder / "model.safetensors"
    if linked:  # as the hub's cache has it
        weights.rename(tmp_path / "blob")
        weights.symlink_to(tmp_path / "blob")
    before = weights.read_bytes()
    with pytest.raises(InputError, match="a part of the model"):
        export(folder, weights, type="F16", force=True)
    assert weights.read_bytes() == before
    for _ in range(2):
        export(folder, folder / "model.gguf", type="F16", force=True)


def test_the_model_itself_is_not_replaced(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "hf")
    path = write_tiny_gguf(tmp_path / "in.gguf", folder)
    with pytest.raises(InputError, match="the model itself"):
        export(path, tmp_path / "hf" / ".." / "in.gguf", force=True)


# --- the command -------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_model(tmp_path / "hf", hidden=256, intermediate=96)
    out = tmp_path / "out.gguf"
    words = ["export", str(folder), "--format", "gguf", "--type", "q4_k", "--out", str(out)]
    assert run(words) == 0
    told = capsys.readouterr().out
    assert "4 tensors: Q5_0, for blocks of Q4_K do not divide their rows" in told
    assert "bits per weight" in told
    assert run(words) == 2
    assert "--force" in capsys.readouterr().err
    assert run([*words, "--force", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bytes"] == out.stat().st_size
    assert {t["type"] for t in document["tensors"]} == {"Q4_K", "Q5_0", "Q6_K", "F32"}
    assert run(["export", str(folder), "--type", "Q9", "--out", str(out)]) == 2
    assert "none of auto, F32" in capsys.readouterr().err


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "hf")

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(folder, tmp_path / "out.gguf", progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]
