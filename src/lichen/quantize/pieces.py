"""A large weight some rows at a time, so that it is never in memory in floats as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lichen.checkpoint.atomic import Rows, Written
from lichen.checkpoint.compressed_tensors import stored_beside, stored_codes
from lichen.checkpoint.manifest import LayerRecord
from lichen.checkpoint.pieces import ByRows, read_rows
from lichen.quantize.assignment import Assignment
from lichen.quantize.layers import layer_record, quantized, read_floats, shared_with, solved
from lichen.quantize.records import Records
from lichen.read_ahead import LARGE_ELEMENTS, ReadAhead
from lichen.reuse import empty
from lichen.solvers import native
from lichen.tensor import (
    FloatArray,
    Quantized,
    QuantizedTensor,
    StoredTensor,
    StoredTrellis,
    TrellisTensor,
)

#: Elements of a piece: 16 MiB of float32.
_PIECE_ELEMENTS = 1 << 22


def in_pieces(work: Assignment, name: str) -> bool:
    """Whether a weight is large, and none of its rows depends on another."""
    if name not in work.to_quantize or work.count(name) <= LARGE_ELEMENTS:
        return False
    rule = work.to_quantize[name][1]
    return not rule.calibrated and rule.scheme.granularity != "tensor"


def quantized_unseen(work: Assignment, name: str) -> tuple[Quantized, LayerRecord]:
    """As `quantized`, without inputs, of a weight that is still to be read."""
    if not in_pieces(work, name):
        return quantized(work, name, read_floats(work, name))
    pieces = Pieces(work, name)
    codes = empty((0 if pieces.trellis else pieces.rows, pieces.columns), np.int8)
    parts: list[Quantized] = []
    begin = 0
    for part in pieces:
        end = begin + part.shape[0]
        if isinstance(part, QuantizedTensor):
            codes[begin:end] = part.codes
            part = replace(part, codes=codes[begin:end])  # so that its own are not held
        parts.append(part)
        begin = end
    return _joined(parts, codes), pieces.record()


def written_in_pieces(
    work: Assignment, name: str, records: Records
) -> Iterator[tuple[str, Written]]:
    """The tensors of the folder that a weight of `in_pieces` becomes, its codes piece by piece."""
    layer, pieces = work.to_quantize[name][0], Pieces(work, name)
    parts: list[Quantized] = []
    for part in pieces:
        stored, codes = stored_codes(layer, part)
        parts.append(_without_codes(part))
        del part  # so that codes are held by nobody when they are written
        yield stored, Rows(codes, pieces.rows)
        del codes
    nothing = np.broadcast_to(np.int8(0), (pieces.rows, pieces.columns))
    whole = records.quantized((_joined(parts, nothing), pieces.record()))
    yield from stored_beside(layer, whole, head=shared_with(work, name)).items()


class Pieces:
    """A weight, quantized by its rule some rows at a time; the next ones are read meanwhile."""

    def __init__(self, work: Assignment, name: str) -> None:
        self._work, self._name, self._rule = work, name, work.to_quantize[name][1]
        self.rows, self.columns = work.matrix(name)
        self.trellis = work.scheme(name).trellis
        self._errors, self._squares = np.zeros(self.rows), np.zeros(self.rows)

    def __iter__(self) -> Iterator[Quantized]:
        rows, step = self._by_rows(), max(1, _PIECE_ELEMENTS // self.columns)
        begins = range(0, self.rows, step)
        with ReadAhead(
            lambda begin: read_rows(rows, begin, min(self.rows, begin + step)), begins
        ) as ahead:
            for begin in begins:
                yield self._piece(begin, ahead.read(begin))

    def _by_rows(self) -> ByRows:
        """The weight where it is, in its file as a rule."""
        exact = self._work.source.read_exact(self._name)
        if isinstance(exact, Quantized | StoredTensor | StoredTrellis):
            return read_floats(self._work, self._name)
        return exact

    def _piece(self, begin: int, weight: FloatArray) -> Quantized:
        """Rows from ``begin`` on; nothing of them is held here."""
        work, name = self._work, self._name
        part = solved(work, name, weight, work.scheme(name), self._rule.solver)
        here = slice(begin, begin + len(weight))
        self._errors[here], self._squares[here] = native.squared_errors(weight, part)
        return replace(part, activations=self._rule.activations)

    def record(self) -> LayerRecord:
        """What there is to say of the weight when all pieces are made."""
        return layer_record(self._work, self._name, native.ratio(self._errors, self._squares))


def _without_codes(part: Quantized) -> Quantized:
    """What others hold of a piece when its codes are gone."""
    if isinstance(part, TrellisTensor):
        return replace(part, words=part.words[:, :0].copy())
    return replace(part, codes=part.codes[:0].copy())


def _joined(parts: Sequence[Quantized], codes: npt.NDArray[np.int8]) -> Quantized:
    """Rows in one format as one tensor; ``codes`` [out, in] are those of all, but trellis codes."""
    if coded := [part for part in parts if isinstance(part, TrellisTensor)]:
        words = np.concatenate([part.words for part in coded])
        return replace(coded[0], words=words, shape=(len(words), codes.shape[1]))
    whole = [part for part in parts if isinstance(part, QuantizedTensor)]
    zeros = [part.zeros for part in whole if part.zeros is not None]
    return replace(
        whole[0],
        codes=codes,
        scales=np.concatenate([part.scales for part in whole]),
        zeros=np.concatenate(zeros) if zeros else None,
    )
