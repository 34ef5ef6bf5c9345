"""Runs a graph over calibration texts, from the input of one group of products to the next.

The graph is cut before every product (or group of them) that reads a new value.  Each section is
compiled by itself, run over all texts, and forgotten; only the values that are still to be read
are held: the residual stream, and the input at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen import graph as ops
from lichen.engine.compile import Packer, ReadWeight
from lichen.engine.part import Part, Step, every_row, read_by, steps
from lichen.errors import InputError
from lichen.reuse import empty

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

#: An input that takes more is made again each time it is read, where that saves memory.
HOLD_BYTES = 1 << 30


class Walk:
    """A graph on its way through texts; iterating yields the stops, once.

    ``read`` is asked for the weights behind a stop when the next one is asked for, so what it
    returns may depend on what was seen at that stop.  The head is the last stop and is not run.
    The numbers are those that the engine computes with keys and values of float32, bit for bit,
    with any number of ``threads``.
    """

    def __init__(
        self,
        graph: ops.Graph,
        read: ReadWeight,
        sequences: Sequence[Ints],
        *,
        isa: str,
        threads: int,
        hold_bytes: int = HOLD_BYTES,
        start: int = 0,
        live: Mapping[int, Float32] | None = None,
    ) -> None:
        """``sequences`` are token ids, each read from an empty context; InputError if unfit.

        A walk can go on from stop ``start`` of another one, with what its `Stop.live` gave there.
        """
        _check(graph, sequences)
        self._graph = graph
        self._shapes = dict(graph.weights())
        self._read = read
        self._isa = isa
        self._pool = _core.ThreadPool(threads)
        self._hold_bytes = hold_bytes
        self._sections = _sections(every_row(graph.nodes))
        self._steps, self._pages = steps(sequences)
        self._tokens = sum(map(len, sequences))
        self._start = start
        self._live = {
            node.value: _Held(live[node.value.index])
            for node in graph.nodes
            if live and node.value.index in live
        }

    def __len__(self) -> int:
        """How many stops there are."""
        return len(self._sections) - 1

    def __iter__(self) -> Iterator[Stop]:
        live: dict[ops.Value, _Rows] = {**self._live}
        self._live = {}
        for number in range(self._start, len(self)):
            if number > self._start or not live:
                live = self._advance(number, live)
            stop = self._stop(number, live)
            yield stop
            stop.leave()

    def _stop(self, number: int, live: dict[ops.Value, _Rows]) -> Stop:
        x = _input(self._sections[number + 1])
        readers = (n for n in _flat(self._sections[number + 1 :]) if x in ops.inputs(n.operation))
        linears = [n.operation for n in readers if isinstance(n.operation, ops.Linear)]
        maker = self._graph.nodes[x.index]
        return Stop(number, tuple(linears), maker, live, self._steps)

    def _advance(self, number: int, live: dict[ops.Value, _Rows]) -> dict[ops.Value, _Rows]:
        """Run the section before a stop; every value that is read behind it."""
        section = self._sections[number]
        later = read_by(_flat(self._sections[number + 1 :]))
        inputs = [value for value in read_by(section) if value in live]
        taps = [node.value for node in section if node.value in later]
        part = self._compile(section, inputs, taps)
        given = [live[value] for value in inputs]
        kept = {value: rows for value, rows in live.items() if value in later}
        spare = [live[value] for value in inputs if value not in later]
        if self._too_large(number, given, taps):
            return kept | {taps[0]: _Made(part, given, taps[0].width)}
        made = {value: self._room(value.width, spare) for value in taps}
        for step in self._steps:
            results = [held.at(step) for held in made.values()]
            part.run(step, [rows.at(step) for rows in given], results)
        return kept | made

    def _compile(
        self, section: Sequence[ops.Node], inputs: list[ops.Value], taps: list[ops.Value]
    ) -> Part:
        packer = Packer(self._shapes, self._read, self._pool, self._isa)
        return Part(section, inputs, taps, packer, self._graph.cache, self._pages)

    def _too_large(self, number: int, given: list[_Rows], taps: list[ops.Value]) -> bool:
        """Whether to make the stop's input anew for every reader, of rows that are narrower.

        Only where nothing else comes of the section, where nobody but the stop's products reads
        it, and where tokens do not meet: then any step can be run at any time.
        """
        section, following = self._sections[number : number + 2]
        alone = taps == [_input(following)]
        alone = alone and taps[0] not in read_by(_flat(self._sections[number + 2 :]))
        held = [rows for rows in given if isinstance(rows, _Held)]
        narrow = len(held) == len(given) and alone and sum(r.width for r in held) < taps[0].width
        meet = any(isinstance(node.operation, ops.Attention) for node in section)
        return narrow and not meet and 4 * self._tokens * taps[0].width > self._hold_bytes

    def _room(self, width: int, spare: list[_Rows]) -> _Held:
        """Memory for a value: that of one that ends here, if it fits."""
        for rows in spare:
            if isinstance(rows, _Held) and rows.width == width:
                spare.remove(rows)
                return rows
        return _Held(empty((self._tokens, width), np.float32))


class Stop:
    """The input of some products, and who they are; valid until the next stop is asked for."""

    def __init__(
        self,
        number: int,
        linears: tuple[ops.Linear, ...],
        maker: ops.Node,
        live: Mapping[ops.Value, _Rows],
        steps: Sequence[Step],
    ) -> None:
        #: Which stop of the walk it is, counted from 0.
        self.number = number
        #: The products that read this input, in running order.
        self.linears = linears
        #: What made the input.
        self.maker = maker
        self._live = live
        self._rows: _Rows | None = live[maker.value]
        self._steps = steps

    @property
    def width(self) -> int:
        """Columns of the input."""
        return self.maker.value.width

    @property
    def tokens(self) -> int:
        """Rows of the input: all tokens of all sequences."""
        return sum(len(step.ids) for step in self._steps)

    @property
    def held(self) -> bool:
        """Whether the input is in memory; otherwise it is made anew each time it is read."""
        return isinstance(self._present(), _Held)

    def inputs(self) -> Iterator[Float32]:
        """Rows [tokens, width] of the input, in order, at most 512 at a time; always in the same
        pieces.  They cannot be written to."""
        for step in self._steps:
            piece = self._present().at(step).view()
            piece.flags.writeable = False
            yield piece

    def divide(self, s: Float32) -> None:
        """From now on the input is divided by ``s`` [width], column by column."""
        divisor = np.asarray(s, np.float32)
        if divisor.shape != (self.width,):
            raise ValueError(f"s has shape {list(divisor.shape)}, the input {self.width} columns")
        self._present().divide(divisor)

    def live(self) -> dict[int, Float32]:
        """All values that are still to be read, by their indices [all tokens, width].

        From these another walk can go on here.
        """
        self._present()
        held = ((value, rows) for value, rows in self._live.items() if isinstance(rows, _Held))
        return {value.index: rows.array for value, rows in held}

    def leave(self) -> None:
        """Let go of the input."""
        self._rows = None
        self._live = {}

    def _present(self) -> _Rows:
        if self._rows is None:
            raise RuntimeError("this stop has been left; its input is gone")
        return self._rows


class _Held:
    """A value in memory, [all tokens, width]."""

    def __init__(self, array: Float32) -> None:
        self.array = array

    @property
    def width(self) -> int:
        return int(self.array.shape[1])

    def at(self, step: Step) -> Float32:
        return self.array[step.rows]

    def divide(self, s: Float32) -> None:
        self.array /= s


class _Made:
    """A value that is made whenever it is read."""

    def __init__(self, part: Part, inputs: Sequence[_Rows], width: int) -> None:
        self._part = part
        self._inputs = inputs
        self._width = width
        self._divisors: list[Float32] = []

    def at(self, step: Step) -> Float32:
        rows = empty((len(step.ids), self._width), np.float32)
        self._part.run(step, [value.at(step) for value in self._inputs], [rows])
        for s in self._divisors:
            rows /= s
        return rows

    def divide(self, s: Float32) -> None:
        self._divisors.append(s.copy())


_Rows = _Held | _Made


def _check(graph: ops.Graph, sequences: Sequence[Ints]) -> None:
    lengths = [len(ids) for ids in sequences]
    if not lengths or min(lengths) < 1:
        raise InputError("a walk needs sequences of at least one token.")
    if max(lengths) > graph.context:
        raise InputError(
            f"a sequence of {max(lengths)} tokens is longer than the model's context of"
            f" {graph.context}; ask for shorter ones."
        )


def _sections(nodes: Sequence[ops.Node]) -> list[list[ops.Node]]:
    """The nodes, cut before every product of a value that had none before."""
    sections: list[list[ops.Node]] = [[]]
    known: set[ops.Value] = set()
    for node in nodes:
        if isinstance(node.operation, ops.Linear) and node.operation.x not in known:
            known.add(node.operation.x)
            sections.append([])
        sections[-1].append(node)
    return sections


def _flat(sections: Sequence[Sequence[ops.Node]]) -> list[ops.Node]:
    return [node for section in sections for node in section]


def _input(section: Sequence[ops.Node]) -> ops.Value:
    """What the first product of a section reads."""
    operation = section[0].operation
    assert isinstance(operation, ops.Linear)
    return operation.x
