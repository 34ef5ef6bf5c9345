"""Memory: what the machine has left, and whether a model and its cache fit into it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from lichen.errors import ResourceError

#: Bytes of an element once it is packed; other stored types are dequantized to float32.
_ELEMENT_BYTES = {"F32": 4.0, "F16": 2.0, "BF16": 2.0}
#: Of codes, without their scales, at most: 5 and 6 bits take a byte where inputs are int8.
_CODE_BYTES = {"I8": 1.0, "I6": 1.0, "I5": 1.0, "I4": 0.5, "I3": 0.5, "I2": 0.5}
#: Of GGUF's blocks by the first letters of their type, at most: codes of 4, 6 or 8 bits with a
#: float16 for scale and a float32 for shift every 32 columns.
_BLOCK_BYTES = {"Q4": 0.69, "Q5": 0.94, "Q6": 0.94, "Q8": 1.07}
_CAST_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}

#: Type, as a checkpoint spells it, and shape of a weight.
Stored = tuple[str, tuple[int, ...]]


def require(path: Path, weights: Iterable[Stored], dtype: str, cache_bytes: int) -> None:
    """Refuse, before anything is read, a model that memory does not hold with its cache."""
    needed = sum(_packed_bytes(stored, dtype) for stored in weights)
    available = available_bytes()
    if available is not None and needed + cache_bytes > available:
        raise ResourceError(
            f"{path}: the weights take {in_gb(needed)} and the key-value cache"
            f" {in_gb(cache_bytes)}, but only {in_gb(available)} of memory are available; free"
            " some, take a smaller cache (--cache-gb), or a smaller or quantized model."
        )


def _packed_bytes(stored: Stored, dtype: str) -> float:
    kind, shape = stored
    blocks = _BLOCK_BYTES.get(kind[:2], 4.0) if dtype == "auto" else 4.0  # else they are floats
    plain = _CAST_BYTES.get(dtype, _ELEMENT_BYTES.get(kind, blocks))
    return math.prod(shape) * _CODE_BYTES.get(kind, plain)


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that this process can still take; None where the system does not tell.

    The least of what the kernel counts as available and what the control groups of this process
    leave, their page cache given back.
    """
    return min(_candidates(root), default=None)


def _candidates(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            yield from _left(root / "sys/fs/cgroup", group, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes"
            yield from _left(root / "sys/fs/cgroup/memory", group, *names)


def _left(mount: Path, group: str, limit_name: str, used_name: str) -> Iterator[int]:
    """What a group and each one above it leave."""
    folder = mount / group.strip("/")
    for above in (folder, *folder.parents):
        limit, used = _lines(above / limit_name), _lines(above / used_name)
        if limit and used and limit[0] != "max":
            stat = dict(line.split() for line in _lines(above / "memory.stat"))
            files = sum(int(stat.get(f"{kind}_file", 0)) for kind in ("active", "inactive"))
            yield max(0, int(limit[0]) - max(0, int(used[0]) - files))
        if above == mount:
            return


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def in_gb(size: float) -> str:
    """Bytes in words: "1.5 GB"."""
    return f"{size / 1e9:.3g} GB"
