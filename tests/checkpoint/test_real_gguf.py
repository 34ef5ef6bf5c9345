"""The tokenizers of published GGUF files; skipped where the models have not been fetched."""

import os
from pathlib import Path

import pytest
from tests.tiny import write_json
from transformers import AutoTokenizer

from lichen.checkpoint import Checkpoint, open_checkpoint
from lichen.checkpoint.atomic import write_tokenizer
from lichen.checkpoint.registry import known_models
from lichen.tokenizer import Tokenizer

#: Golden ids; transformers' own conversion of the same files gives them too.
KNOWN_IDS = {
    "qwen2.5-coder-0.5b": {
        "def fib(n):\n    return 12345 + n": [
            750, 15801, 1445, 982, 262, 470, 220, 16, 17, 18, 19, 20, 488, 308,
        ],
        "<|im_start|>user<|im_end|><|fim_prefix|>": [151644, 872, 151645, 151659],
    },
    "smollm2-135m": {
        "def fib(n):\n    return 12345 + n": [
            1604, 3987, 24, 94, 727, 472, 1003, 216, 33, 34, 35, 36, 37, 1232, 304,
        ],
        "<|im_start|>user<|im_end|>": [1, 4093, 2],
    },
}  # fmt: skip

TEXTS = (
    Path(__file__).read_text(encoding="utf-8"),
    "héllo e\u0301 \u212b ﬁ 日本語 한국어 🎉👩\u200d👧 \t\r\n\n\n 1\u00a02 x=100_000  \n  # it's\n",
    "<|im_start|>user\nHi<|im_end|>\n<tool_call>{}</tool_call><|fim_prefix|>a<|file_sep|>",
    "",
)


@pytest.fixture(scope="module", params=KNOWN_IDS)
def model(request: pytest.FixtureRequest) -> tuple[str, Checkpoint, Tokenizer]:
    name: str = request.param
    size = next(m.packaged.size_bytes for m in known_models() if m.name == name)
    home = Path.home() / ".cache"
    for folder in (os.environ.get("LICHEN_CACHE"), home / "lichen", home / "lichen-models"):
        path = Path(folder or home) / f"{name}.gguf"
        if path.is_file() and path.stat().st_size == size:
            checkpoint = open_checkpoint(path)
            return name, checkpoint, Tokenizer.load(checkpoint)
    pytest.skip(f"{name} is not here; fetch it with: lichen models fetch {name}")


def test_known_ids(model: tuple[str, Checkpoint, Tokenizer]) -> None:
    name, _, tokenizer = model
    for text, ids in KNOWN_IDS[name].items():
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids, skip_special=False) == text


def test_written_tokenizer_is_read_by_transformers(
    model: tuple[str, Checkpoint, Tokenizer], tmp_path: Path
) -> None:
    _, checkpoint, tokenizer = model
    write_tokenizer(checkpoint, tmp_path)
    write_json(tmp_path / "config.json", checkpoint.config)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text) == theirs(text).input_ids
        assert tokenizer.decode(tokenizer.encode(text), skip_special=False) == theirs.decode(
            theirs(text).input_ids
        )
    messages = [{"role": "user", "content": "hi"}]
    rendered = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.chat(messages) == rendered
    assert theirs.eos_token == "<|im_end|>"
    assert theirs.eos_token_id in tokenizer.eos_ids
    assert len(theirs) == tokenizer.vocab_size
