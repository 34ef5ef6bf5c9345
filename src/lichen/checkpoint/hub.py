"""Models from the Hugging Face hub, into its own cache and out of it without a network.

Which hub, which cache and which credentials are huggingface_hub's business (``HF_*`` variables).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lichen.checkpoint import files
from lichen.checkpoint.disk import folder_bytes, require_space
from lichen.checkpoint.safetensors_folder import INDEX, SINGLE
from lichen.errors import InputError, ResourceError
from lichen.hub_bars import no_bars

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

Progress = Callable[[int, int], None]

#: Seconds that a hub may take to answer the first question before it counts as out of reach.
REACH_SECONDS = 5.0
_POLL_SECONDS = 0.3


class HubUnreachableError(Exception):
    """No hub could be reached, for the reason in the message."""


def cached(hub_id: str) -> Path | None:
    """The folder of a model that is whole in the hub's cache, else None; uses no network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(hub_id, "config.json")
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if _is_whole(folder) else None


def fetch(hub_id: str, *, progress: Progress | None = None) -> Path:
    """Download config, tokenizer and safetensors of a model into the hub's cache.

    An interrupted download goes on where it stopped.  HubUnreachableError when no hub answers,
    InputError for a model that is not there or not for us, ResourceError when it breaks off.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.file_download import repo_folder_name

    wanted = _wanted(hub_id, _model_info(hub_id))
    cache = Path(constants.HF_HUB_CACHE)
    total = sum(wanted.values())
    require_space(cache, total, hub_id)
    store = cache / repo_folder_name(repo_id=hub_id, repo_type="model")
    try:
        # One by one and in this thread: the library's own way to fetch several files waits for
        # all of them before it lets go on Ctrl-C.
        with no_bars(), _watch(store / "blobs", total, progress):
            paths = [Path(hf_hub_download(hub_id, name)) for name in wanted]
    except Exception as error:
        # The library lets through what its HTTP and file layers raise; all of it ends a download.
        raise ResourceError(f"{hub_id}: the download broke off ({_brief(error)}).") from error
    folder = paths[0].parent
    if not _is_whole(folder):
        raise ResourceError(f"{hub_id}: the download is not whole; run the same command again.")
    if progress:
        progress(total, total)
    return folder


def _model_info(hub_id: str) -> ModelInfo:
    """What the hub says of a model, asked in a thread: a name server can hang for a minute."""
    answers: list[ModelInfo | Exception] = []

    def ask() -> None:
        from huggingface_hub import HfApi

        try:
            answers.append(HfApi().model_info(hub_id, timeout=REACH_SECONDS, files_metadata=True))
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_SECONDS)
    if not answers:
        raise HubUnreachableError(f"no hub answered within {REACH_SECONDS:.0f} seconds.")
    answer = answers[0]
    if isinstance(answer, Exception):
        raise _refusal(hub_id, answer) from answer
    return answer


def _refusal(hub_id: str, error: Exception) -> Exception:
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return InputError(
            f"{hub_id}: its owner asks for consent first; give it on the model's page, then log in"
            " with: hf auth login."
        )
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"{hub_id}: the hub has no such model, or it is private (log in with: hf auth login)."
        )
    if isinstance(error, HFValidationError):
        return InputError(f"{hub_id}: is not a hub id ({error}).")
    return HubUnreachableError(f"no hub could be reached ({_brief(error)}).")


def _wanted(hub_id: str, info: ModelInfo) -> dict[str, int]:
    """Files to fetch with their sizes: those at the top that make a model, one copy of it.

    The config is the last: `cached` asks for it first, so that it vouches for all the others.
    """
    sizes = {s.rfilename: s.size or 0 for s in info.siblings or [] if "/" not in s.rfilename}
    if SINGLE in sizes:
        weights = {SINGLE}
    elif INDEX in sizes:
        weights = {INDEX} | {name for name in sizes if name.startswith("model-")}
    else:
        weights = set(sizes)
    weights = {name for name in weights if name == INDEX or name.endswith(".safetensors")}
    if "config.json" not in sizes or not weights:
        raise InputError(
            f"{hub_id}: has no config.json with safetensors weights, which is what lichen reads."
        )
    further = {*files.TOKENIZER_FILES, *files.QUANTIZATION_FILES} & sizes.keys()
    names = weights | {"config.json"} | further
    return {name: sizes[name] for name in sorted(names, key=lambda n: (n == "config.json", n))}


def _is_whole(folder: Path) -> bool:
    """Whether a snapshot has its config and every weight file; links to lost blobs do not count."""
    if not (folder / "config.json").is_file():
        return False
    if not (folder / INDEX).is_file():
        found = [path.name for path in folder.glob("*.safetensors") if path.is_file()]
        return bool(found) and not any("-of-" in name for name in found)
    placement: Any = files.read_json(folder / INDEX).get("weight_map")
    shards = set(placement.values()) if isinstance(placement, dict) else set()
    return all(isinstance(shard, str) and (folder / shard).is_file() for shard in shards)


@contextmanager
def _watch(folder: Path, total: int, progress: Progress | None) -> Iterator[None]:
    """Report the growth of a folder while the body runs; the library has no callback for it."""
    if progress is None:
        yield
        return
    report, done = progress, threading.Event()

    def poll() -> None:
        while not done.wait(_POLL_SECONDS):
            report(min(folder_bytes(folder), total), total)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _brief(error: Exception) -> str:
    """The first line of an error, with its kind when it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
