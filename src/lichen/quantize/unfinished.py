"""A folder that a long run fills unit by unit, and goes on with when it was interrupted.

Beside the target lies ``.NAME.unfinished`` with whole weight files, the values that flow on from
them, and ``state.json``, which is replaced last and says what counts.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from lichen.checkpoint.atomic import AtomicFolder, to_disk
from lichen.checkpoint.manifest import LayerRecord, NarrowedRecord
from lichen.errors import InputError, ResourceError

Float32 = npt.NDArray[np.float32]

_STATE = "state.json"


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A weight file that is whole: its tensors, their bytes, and what there is to say of them."""

    file: str
    tensors: list[str]
    bytes: int
    layers: list[LayerRecord]
    narrowed: list[NarrowedRecord]


class State(msgspec.Struct, kw_only=True):
    """How far a run has come.

    sizes        bytes of every file that counts, by its name
    stop         the next product input to look at
    sensitivity  divergence measured with one group of layers quantized, by its first layer
    """

    fingerprint: str
    sizes: dict[str, int]
    units: list[Unit] = []
    stop: int = 0
    sensitivity: dict[str, float] = {}


class UnfinishedFolder(AtomicFolder):
    """An `AtomicFolder` that stays beside its target when it is left with an error.

    InputError where what lies there belongs to other work, or cannot be read (``force`` discards
    it).  Input that turns out to be unusable is no reason to keep anything.
    """

    def __init__(self, target: Path, fingerprint: str, *, force: bool = False) -> None:
        super().__init__(target, force=force)
        self._partial = self.target.with_name(f".{self.target.name}.unfinished")
        self._fingerprint = fingerprint
        self.state = State(fingerprint=fingerprint, sizes={})
        #: The file for which all weights are made again, since it is not as it was written; or "".
        self.spoilt = ""
        self._whole = False

    @property
    def begun(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self.state.units or self.state.sensitivity)

    def save(self, live: dict[int, Float32] | None = None) -> None:
        """Make the state of now the one to go on from, with the values that it needs."""
        for value, array in (live or {}).items():
            _write_array(self._partial / self._live_name(value), array)
        files = [unit.file for unit in self.state.units]
        files += [path.name for path in self._live_files()]
        known = self.state.sizes  # of files when they were written, not of what became of them
        self.state.sizes = {n: known.get(n, _size(self._partial / n)) for n in files}
        fresh = self._partial / f"{_STATE}.new"
        fresh.write_bytes(msgspec.json.encode(self.state))
        to_disk(fresh)
        to_disk(self._partial)
        fresh.rename(self._partial / _STATE)
        self._clear(keep=self._counts)

    def live(self) -> dict[int, Float32]:
        """The values that were saved with the state."""
        prefix = self._live_name("")
        return {int(f.stem.removeprefix(prefix)): np.load(f) for f in self._live_files()}

    def _live_files(self) -> list[Path]:
        return sorted(self._partial.glob(f"{self._live_name('')}*"))

    def _live_name(self, value: int | str) -> str:
        suffix = "" if value == "" else ".npy"
        return f"live-{self.state.stop}-{value}{suffix}"

    def _begin(self) -> None:
        """Go on with what lies there, if it is this work's."""
        found = self._found()
        if found is None:
            self._clear()
            return
        self.state = found
        self._forget_spoilt()
        self._clear(keep=self._counts)

    def _found(self) -> State | None:
        """The state that lies there; None where there is none, or it is to be discarded."""
        try:
            found = msgspec.json.decode((self._partial / _STATE).read_bytes(), type=State)
            if found.fingerprint == self._fingerprint:
                return found
            fault = (
                "is the beginning of another run (of another model, recipe, calibration or lichen);"
                " finish that one"
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError):  # msgspec's are among them
            fault = (
                f"has a {_STATE} that cannot be read, damaged or of another lichen; finish it with"
                " that one"
            )
        if not self._force:
            raise InputError(f"{self._partial} {fault}, or use --force to discard it.")
        return None

    def _forget_spoilt(self) -> None:
        """Begin the weights anew where a file is not what was written.

        All of them: the values that one block reads are gone when the next ones are saved.
        """
        sizes = self.state.sizes
        spoilt = [name for name in sizes if _size(self._partial / name) != sizes[name]]
        if spoilt:
            self.spoilt = spoilt[0]
            measured = self.state.sensitivity
            self.state = State(fingerprint=self._fingerprint, sizes={}, sensitivity=measured)

    def _finish(self) -> None:
        self._check_target()  # a refusal must not cost what was done
        self._whole = True
        super()._finish()
        # Only now: a kill before the folder has its name must leave what the next run goes on from.
        for path in self.target.iterdir():
            if not self._is_result(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _give_up(self, error: BaseException) -> None:
        if not self._whole and (isinstance(error, InputError) or not self.begun):
            super()._give_up(error)

    def _translated(self, error: OSError) -> Exception:
        translated = super()._translated(error)
        if self.begun and isinstance(translated, ResourceError):
            return ResourceError(
                f"{self.target}: the disk is full; free some space and run the same command again,"
                " it goes on from there."
            )
        return translated

    def _counts(self, name: str) -> bool:
        """Whether a file belongs to the state."""
        return name == _STATE or name in self.state.sizes

    @staticmethod
    def _is_result(name: str) -> bool:
        return not name.startswith((_STATE, "live-"))


def _size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    return path.stat().st_size if path.is_file() else -1


def _write_array(path: Path, array: Float32) -> None:
    """As ``np.save``, which does not say of a full disk that it is one."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(array).data)
    to_disk(path)
