"""What the rows of bench/peers.py load: the model as given, and what is made of it once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from lichen.checkpoint import open_checkpoint

REQUANTIZE = Path(__file__).parents[1] / "requantize.py"


class Weights:
    """The files that rows load: the model as it was given, and what is made of it once."""

    def __init__(self, model: Path, out: Path, python: Path) -> None:
        self.model, self._python = model, python
        self._folder = out / "models"
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, kind: str) -> Path:
        """The file or folder of a kind, made unless it is there."""
        if kind == "given":
            return self.model
        gguf = kind.startswith("Q")
        path = self._folder / f"{self.model.stem}-{kind}{'.gguf' if gguf else ''}"
        if not path.exists():
            print(f"making {path}", file=sys.stderr, flush=True)
            make = self._bfloat16 if kind == "bf16" else self._gguf if gguf else self._quantized
            make(kind, path)
        return path

    def _gguf(self, kind: str, path: Path) -> None:
        _run([self._python, REQUANTIZE, self.model, path, "--type", kind])

    def _quantized(self, kind: str, path: Path) -> None:
        lichen = [sys.executable, "-m", "lichen", "quantize"]
        _run([*lichen, self.model, "--recipe", kind, "--out", path])

    def _bfloat16(self, _: str, path: Path) -> None:
        """A folder that lichen and transformers load."""
        checkpoint = open_checkpoint(self.model)
        beside = path.with_suffix(".part")
        beside.mkdir(exist_ok=True)
        for file, content in checkpoint.tokenizer_files().items():
            (beside / file).write_bytes(content)
        weights = {
            name: np.asarray(checkpoint.read(name)).astype(ml_dtypes.bfloat16)
            for name in checkpoint.names()
        }
        save_file(weights, beside / "model.safetensors", metadata={"format": "pt"})
        config = {**checkpoint.config, "torch_dtype": "bfloat16"}
        (beside / "config.json").write_text(json.dumps(config), "utf-8")
        beside.rename(path)


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)
