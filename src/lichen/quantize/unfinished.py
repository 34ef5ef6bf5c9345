"""A folder that a long run fills unit by unit, and goes on with when it was interrupted.

Beside the target lies ``.NAME.unfinished`` with whole weight files, the values that flow on from
them, and ``state.json``, which is replaced last and says what counts.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from lichen.checkpoint.atomic import AtomicFolder, to_disk
from lichen.checkpoint.manifest import LayerRecord, NarrowedRecord
from lichen.errors import InputError

Float32 = npt.NDArray[np.float32]

_STATE, _LOCK = "state.json", ".lock"


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A weight file that is whole: its tensors, their bytes, and what there is to say of them."""

    file: str
    tensors: list[str]
    bytes: int
    layers: list[LayerRecord]
    narrowed: list[NarrowedRecord]


class State(msgspec.Struct, kw_only=True):
    """How far a run has come.

    stop         the next product input to look at
    sensitivity  divergence measured with one group of layers quantized, by its first layer
    """

    fingerprint: str
    units: list[Unit] = []
    stop: int = 0
    sensitivity: dict[str, float] = {}


class UnfinishedFolder(AtomicFolder):
    """An `AtomicFolder` that stays beside its target when it is left with an error.

    InputError where what lies there belongs to other work (``force`` discards it), or to a run
    that is still going on.
    """

    def __init__(self, target: Path, fingerprint: str, *, force: bool = False) -> None:
        super().__init__(target, force=force)
        self._partial = self.target.with_name(f".{self.target.name}.unfinished")
        self._fingerprint = fingerprint
        self._lock: BinaryIO | None = None
        self.state = State(fingerprint=fingerprint)

    def __enter__(self) -> Path:
        self._restore()
        self._check_target()
        self._partial.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._take_up()
        except BaseException:
            self._drop_lock()
            raise
        return self._partial

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._clear(keep=self._is_result)
                super().__exit__(kind, error, trace)
            else:
                self._leave(error)
        finally:
            self._drop_lock()

    def save(self, live: dict[int, Float32] | None = None) -> None:
        """Make the state of now the one to go on from, with the values that it needs."""
        for value, array in (live or {}).items():
            with (self._partial / self._live_name(value)).open("wb") as file:
                np.save(file, array)
            to_disk(self._partial / self._live_name(value))
        fresh = self._partial / f"{_STATE}.new"
        fresh.write_bytes(msgspec.json.encode(self.state))
        to_disk(fresh)
        fresh.rename(self._partial / _STATE)
        self._clear(keep=self._counts)

    def live(self) -> dict[int, Float32]:
        """The values that were saved with the state."""
        prefix = self._live_name("")
        files = self._partial.glob(f"{prefix}*")
        return {int(f.stem.removeprefix(prefix)): np.load(f) for f in files}

    def _live_name(self, value: int | str) -> str:
        suffix = "" if value == "" else ".npy"
        return f"live-{self.state.stop}-{value}{suffix}"

    def _take_up(self) -> None:
        """Go on with what lies there, if it is this work's."""
        try:
            found = msgspec.json.decode((self._partial / _STATE).read_bytes(), type=State)
        except (OSError, msgspec.DecodeError):
            found = State(fingerprint="")
        if found.fingerprint == self._fingerprint:
            self.state = found
        elif found.fingerprint and not self._force:
            raise InputError(
                f"{self._partial} is the beginning of another run (of another model, recipe,"
                " calibration or lichen); finish that one, or use --force to discard it."
            )
        self._clear(keep=self._counts)

    def _counts(self, name: str) -> bool:
        """Whether a file belongs to the state."""
        whole = {unit.file for unit in self.state.units}
        return name in {*whole, _STATE, _LOCK} or name.startswith(self._live_name(""))

    @staticmethod
    def _is_result(name: str) -> bool:
        return not name.startswith((_STATE, _LOCK, "live-"))

    def _clear(self, keep: Callable[[str], bool]) -> None:
        for path in self._partial.iterdir():
            if not keep(path.name):
                path.unlink()

    def _leave(self, error: BaseException) -> None:
        """Keep what was done; a folder without any of it goes."""
        if not self.state.units and not self.state.sensitivity:
            shutil.rmtree(self._partial, ignore_errors=True)
        self._explain(error)

    def _take_lock(self) -> None:
        self._lock = (self._partial / _LOCK).open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._drop_lock()
            raise InputError(
                f"{self.target}: another lichen is writing it; wait for that one."
            ) from None

    def _drop_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
