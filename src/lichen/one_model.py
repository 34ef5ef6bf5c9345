"""The verbs of one model, which is given as on the command line: a folder, a ``.gguf`` file, or a
name that was fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lichen import code_text
from lichen.calibration import standard_library
from lichen.checkpoint.registry import default_cache, resolve
from lichen.engine.scheduler import KV_TYPE
from lichen.errors import InputError
from lichen.loading import LanguageModel, cache_bytes
from lichen.loading import load as load_path
from lichen.quantize import QuantizeReport
from lichen.quantize import quantize as quantize_path
from lichen.quantize.progress import silent
from lichen.quantize.update import recipe_of, require_same_text
from lichen.recipe import load_recipe


def load(
    model: str | Path,
    *,
    cache: Path | None = None,
    threads: int | None = None,
    isa: str | None = None,
    kv_cache: str = KV_TYPE,
    cache_gb: float | None = None,
    speculate: bool = True,
    draft: LanguageModel | None = None,
) -> LanguageModel:
    """Load a model, ready to generate; `cache_gb` is for keys and values, stored as `kv_cache`.

    The other arguments are those of `lichen.loading.load`.
    """
    return load_path(
        resolve(str(model), cache=cache or default_cache()),
        threads=threads,
        isa=isa,
        kv_cache=kv_cache,
        cache_bytes=cache_bytes(cache_gb),
        speculate=speculate,
        draft=draft,
    )


def quantize(
    model: str | Path,
    recipe: str | Path = "int8",
    *,
    out: str | Path,
    like: str | Path | None = None,
    calibration: str | Path | None = None,
    calibration_sequences: int | None = None,
    calibration_length: int | None = None,
    requantize: bool = False,
    threads: int | None = None,
    isa: str | None = None,
    cache: Path | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = silent,
) -> QuantizeReport:
    """Quantize a model by a recipe into the folder `out`, which must be new or empty or forced.

    like         a quantized folder whose recipe and calibration are repeated; `recipe` is not read
    calibration  file or folder of text for recipes that look at inputs, as many pieces of as many
                 tokens as the recipe or the next two say
    requantize   take a model that is quantized already

    The other arguments are those of `lichen.quantize.quantize`.
    """
    text = None if calibration is None else code_text.from_path(Path(calibration))
    sizes = {"sequences": calibration_sequences, "length": calibration_length}
    asked = {name: size for name, size in sizes.items() if size is not None}
    if like is None:
        chosen = load_recipe(recipe)
    else:
        if asked:
            given = ", ".join(asked)
            raise InputError(f"like takes the calibration of a folder; leave {given} out.")
        chosen, made = recipe_of(Path(like))
        require_same_text(made, text or standard_library())
    if not chosen.calibrated and (text or asked):
        say(f"recipe {chosen.name} looks at no inputs; calibration text is not read")
    size = replace(chosen.calibration, **asked)
    return quantize_path(
        resolve(str(model), cache=cache or default_cache()),
        replace(chosen, calibration=size),
        Path(out),
        force=force,
        requantize=requantize,
        calibration=text,
        threads=threads,
        isa=isa,
        progress=progress,
        say=say,
    )
