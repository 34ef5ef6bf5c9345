"""The figures of ``lichen models info``."""

from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as GgmlType
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.tiny import tiny_config, tiny_weights, write_tiny_model

from lichen.checkpoint import open_checkpoint
from lichen.checkpoint.info import model_info


def test_a_folder(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", "qwen2", dtype="bfloat16", chat_template=False)
    info = model_info(open_checkpoint(folder))
    parameters = sum(w.size for w in tiny_weights(tiny_config("qwen2")).values())
    assert info.parameters == parameters
    assert info.dtypes == {"BF16": parameters}
    assert info.bits_per_weight == pytest.approx(16, rel=0.05)
    assert (info.architecture, info.layers, info.hidden_size) == ("qwen2", 2, 64)
    assert (info.heads, info.kv_heads, info.context, info.vocab) == (4, 2, 1024, 384)
    assert not info.chat_template


def test_a_gguf_file(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m", "llama")
    path = write_tiny_gguf(tmp_path / "m.gguf", folder, kind=GgmlType.Q8_0)
    info = model_info(open_checkpoint(path))
    assert list(info.dtypes) == ["Q8_0", "F32"]
    assert info.size_bytes == path.stat().st_size
    assert info.chat_template
    assert info.digest == open_checkpoint(path).digest()
