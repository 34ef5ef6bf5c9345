"""Memory of calibrated runs: that of a layer or two, however many a model has."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.quantize.test_calibrated import RECIPES, TEXT
from tests.tiny import write_tiny_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")

HIDDEN, INTERMEDIATE = 256, 1024
#: Of a layer in float32: queries and outputs, keys and values, and three of the MLP.
LAYER_BYTES = 4 * (3 * HIDDEN**2 + 3 * HIDDEN * INTERMEDIATE)
#: Of what three products of the width and the down projection read.
HESSIAN_BYTES = 4 * (3 * HIDDEN**2 + INTERMEDIATE**2)
#: GPTQ's factor of the largest one, which is needed beside it.
FACTOR_BYTES = 4 * INTERMEDIATE**2
#: What is small, and threads' own memory.
SLACK_BYTES = 2 << 20

#: glibc's allocator gives back what is freed, and so does not hold more on a machine that is busy.
_ENVIRONMENT = os.environ | {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "0",
}

#: A small model comes first, so that all that is loaded once is there before.
_RUN = """
import json, sys
from pathlib import Path
from lichen.code_text import CodeText
from lichen.measure.timing import peak_memory_bytes
from lichen.quantize import quantize
from lichen.recipe import load_recipe
small, wide, recipe, text = sys.argv[1:]
words, peaks = CodeText("words", (text,)), []
for model in (small, wide):
    quantize(Path(model), load_recipe(recipe), Path(f"{model}-out"), calibration=words)
    peaks.append(peak_memory_bytes())
print(json.dumps(peaks[1] - peaks[0]))
"""


@pytest.mark.parametrize("rotate", [False, True], ids=["gptq", "gptq-rotated"])
def test_memory_is_that_of_two_layers_whatever_the_depth(tmp_path, rotate):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(("rotate = true\n" if rotate else "") + RECIPES["gptq"].text)
    shape = {"hidden": HIDDEN, "intermediate": INTERMEDIATE, "heads": 4, "head_dim": 64}
    grown = {}
    for layers in (3, 9):
        wide = write_tiny_model(tmp_path / f"wide-{layers}", layers=layers, **shape)
        small = write_tiny_model(tmp_path / f"small-{layers}")
        arguments = map(str, (small, wide, recipe, TEXT.documents[0]))
        command = [sys.executable, "-c", _RUN, *arguments]
        run = subprocess.run(command, check=True, capture_output=True, env=_ENVIRONMENT)
        grown[layers] = json.loads(run.stdout)
    shard_bytes = max(f.stat().st_size for f in (tmp_path / "wide-9-out").glob("*-00001-*"))
    assert grown[9] < 2 * LAYER_BYTES + shard_bytes + HESSIAN_BYTES + FACTOR_BYTES + SLACK_BYTES
    assert grown[9] - grown[3] < 6 * LAYER_BYTES / 4, "six more layers are not held"
