"""What a solver may know of a product's input: statistics gathered over all calibration tokens."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen.row_blocks import map_row_blocks
from lichen.solvers import native
from lichen.solvers.moment import Moment, MomentCollector

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Tokens that a sample holds at most.
SAMPLE_TOKENS = 512

#: What a `Collector` gathers when it is asked to; the rest it always has.
NEEDS = frozenset({"second_moment", "sample", "histogram"})

_BINS = 4096
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Histogram:
    """How often magnitudes fall into bins of equal ``width``, the first of which starts at zero.

    counts   int64 [bins]
    largest  the largest magnitude itself
    """

    width: float
    counts: npt.NDArray[np.int64]
    largest: float


@dataclass(frozen=True)
class InputStatistics:
    """One product's input over ``tokens`` tokens; what was not asked for is None.

    absmax, mean_absolute, mean_square  [in], of each column
    second_moment  [in, in], X^T X / tokens, in blocks (`lichen.solvers.moment`)
    sample         [rows, in], tokens spread evenly over all and over places in sequences
    histogram      of the magnitudes of the whole input
    """

    tokens: int
    absmax: Float32
    mean_absolute: Float32
    mean_square: Float32
    second_moment: Moment | None = None
    sample: Float32 | None = None
    histogram: Histogram | None = None


class Collector:
    """Gathers `InputStatistics` of an input [tokens, width] that comes in pieces, in order."""

    def __init__(self, width: int, tokens: int, needs: AbstractSet[str]) -> None:
        if unknown := needs - NEEDS:
            raise ValueError(
                f"there are no statistics {sorted(unknown)}; there are {sorted(NEEDS)}"
            )
        self._tokens = tokens
        self._seen = 0
        self._absmax = np.zeros(width, np.float32)
        self._absolute = np.zeros(width)
        self._square = np.zeros(width)
        self._moment = MomentCollector(width) if "second_moment" in needs else None
        kept = min(SAMPLE_TOKENS, tokens) if "sample" in needs else 0
        self._kept = _spread(kept, tokens)
        self._sample = np.empty((kept, width), np.float32)
        self._counts = _Counts() if "histogram" in needs else None

    def add(self, x: Float32) -> None:
        """The next piece [n, width]; ValueError where it is not finite."""
        x = np.ascontiguousarray(x, np.float32)
        _core.add_columns(native.pool(x.size), x, self._absmax, self._absolute, self._square)
        if not np.isfinite(self._square).all():
            raise ValueError("inputs are not finite")
        first, last = np.searchsorted(self._kept, (self._seen, self._seen + len(x)))
        self._sample[first:last] = x[self._kept[first:last] - self._seen]
        if self._counts:
            self._counts.add(x)
        if self._moment:
            self._moment.add(x)
        self._seen += len(x)

    def result(self) -> InputStatistics:
        """Statistics of all pieces; to be asked for once.

        ValueError when they were not the tokens announced.
        """
        if self._seen != self._tokens:
            raise ValueError(f"{self._seen} tokens were seen, not {self._tokens}")
        return InputStatistics(
            tokens=self._tokens,
            absmax=self._absmax,
            mean_absolute=(self._absolute / self._tokens).astype(np.float32),
            mean_square=(self._square / self._tokens).astype(np.float32),
            second_moment=self._moment.result(self._tokens) if self._moment else None,
            sample=self._sample if len(self._sample) else None,
            histogram=self._counts.histogram() if self._counts else None,
        )


def _spread(count: int, tokens: int) -> npt.NDArray[np.intp]:
    """Evenly spread tokens, one of each of ``count`` runs, wherever the golden ratio has it.

    Were it always the first, runs that divide the sequences would meet the same places in all of
    them, and first tokens, whose inputs are unlike all others (arXiv 2402.17762), far too often.
    """
    ends = np.arange(count + 1) * tokens // max(1, count)
    shares = np.arange(1, count + 1) * _GOLDEN % 1
    places: npt.NDArray[np.intp] = ends[:-1] + (shares * np.diff(ends)).astype(np.intp)
    return places


class _Counts:
    """A histogram whose bins double, two to one, when a larger number comes."""

    def __init__(self) -> None:
        self._width = 0.0  # a power of two
        self._largest = 0.0
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, x: Float32) -> None:
        self._reach(max(map_row_blocks(lambda rows: float(np.abs(x[rows]).max()), x.shape)))
        if not self._width:
            self._counts[0] += x.size
            return
        inverse = np.float32(1 / self._width)

        def count(rows: slice) -> npt.NDArray[np.int64]:
            bins = (np.abs(x[rows]) * inverse).astype(np.int32)
            return np.bincount(bins.ravel(), minlength=_BINS)

        for counts in map_row_blocks(count, x.shape):
            self._counts += counts

    def _reach(self, largest: float) -> None:
        """Widen the bins until the last one ends beyond ``largest``."""
        self._largest = max(self._largest, largest)
        if largest and not self._width:
            self._width = max(float(2.0 ** np.ceil(np.log2(largest / _BINS))), 2.0**-120)
        while largest and largest >= self._width * _BINS:
            merged = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.concatenate([merged, np.zeros(_BINS // 2, np.int64)])
            self._width *= 2

    def histogram(self) -> Histogram:
        return Histogram(self._width, self._counts, self._largest)
