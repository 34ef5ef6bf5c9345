"""A model run beside variants of itself that have other weights in some places.

The graph is cut wherever a single value flows on, in a transformer twice a layer.  Each segment is
compiled once, run on the values of the model and of all variants, and forgotten.  A variant begins
where its weights do: before, it is the model.  So neither the model nor a variant is ever in memory
as a whole, and half of what they would compute is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lichen import _core
from lichen import graph as ops
from lichen.engine.compile import Packer, ReadWeight
from lichen.engine.part import Part, Step, every_row, read_by, steps
from lichen.graph import Graph
from lichen.tensor import AnyTensor

Float32 = npt.NDArray[np.float32]

#: What flows from one segment into the next: a value [tokens, width], or nothing before the first.
_Flow = list[Float32]

#: Logits are made for so many tokens at a time: a vocabulary is wide.
_HEAD_TOKENS = 64


@dataclass(frozen=True)
class Variant:
    """The weights that a variant has others for, by name, and the way to get these."""

    names: frozenset[str]
    exchanged: Callable[[], Mapping[str, AnyTensor]]


class Variants:
    """A model on its way through a text, with variants beside it."""

    def __init__(
        self,
        graph: Graph,
        read: ReadWeight,
        ids: npt.NDArray[np.int32],
        *,
        isa: str,
        threads: int,
    ) -> None:
        """``ids`` are at most 512 tokens; ``read`` gives the weights of the model itself."""
        self._graph = graph
        self._shapes = dict(graph.weights())
        self._read = read
        self._ids = ids
        self._isa = isa
        self._pool = _core.ThreadPool(threads)
        [self._step], self._pages = steps([ids])
        self._segments = _segments(every_row(graph.nodes))
        self._reached: tuple[int, _Flow] = (0, [])

    def work(self, variant: Variant) -> int:
        """Products of a token and a weight's number that a variant takes."""
        segments = self._segments[self._first(variant) :]
        return len(self._ids) * sum(segment.numbers(self._shapes) for segment in segments)

    def logits(
        self, variants: Sequence[Variant], done: Callable[[int], None]
    ) -> Iterator[tuple[Float32, Iterator[Float32]]]:
        """Logits [tokens, vocabulary] of the model, and of one variant after the other, piece by
        piece of the text.

        ``done`` is called with what is done of their `work`.  Variants must not begin before
        those that were asked for earlier.
        """
        firsts = [self._first(variant) for variant in variants]
        number, original = self._reached
        assert min(firsts) >= number
        states: list[_Flow] = [[] for _ in variants]
        for at in range(number, len(self._segments) - 1):
            if at == min(firsts):
                self._reached = at, original
            segment = self._segments[at]
            packer, part = self._compile(segment)
            for i, variant in enumerate(variants):
                if at >= firsts[i]:
                    its = self._exchanged(segment, packer, variant) or part
                    states[i] = _run(its, self._step, segment, states[i] or original)
                    done(len(self._ids) * segment.numbers(self._shapes))
            original = _run(part, self._step, segment, original)
        yield from self._head(variants, original, states, done)

    def _head(
        self,
        variants: Sequence[Variant],
        original: _Flow,
        states: Sequence[_Flow],
        done: Callable[[int], None],
    ) -> Iterator[tuple[Float32, Iterator[Float32]]]:
        """What `logits` gives, from the values that the last segment reads."""
        head = self._segments[-1]
        assert not any(isinstance(node.operation, ops.Attention) for node in head.nodes)
        packer, part = self._compile(head)
        parts = [self._exchanged(head, packer, variant) or part for variant in variants]
        pieces = range(0, len(self._ids), _HEAD_TOKENS)
        for rows in (slice(begin, begin + _HEAD_TOKENS) for begin in pieces):
            [step], _ = steps([self._ids[rows]])
            each = (
                _run(its, step, head, _rows(state or original, rows))[0]
                for its, state in zip(parts, states, strict=True)
            )
            yield _run(part, step, head, _rows(original, rows))[0], each
            done(len(variants) * len(step.ids) * head.numbers(self._shapes))

    def _first(self, variant: Variant) -> int:
        """The segment that it begins in."""
        return next(
            number
            for number, segment in enumerate(self._segments)
            if not variant.names.isdisjoint(segment.weights)
        )

    def _compile(self, segment: _Segment) -> tuple[Packer, Part]:
        packer = Packer(self._shapes, self._read, self._pool, self._isa)
        return packer, self._part(segment, packer)

    def _exchanged(self, segment: _Segment, packer: Packer, variant: Variant) -> Part | None:
        """The segment as a variant has it; None where it has no weights of its own there."""
        if variant.names.isdisjoint(segment.weights):
            return None
        return self._part(segment, packer.exchanging(variant.exchanged()))

    def _part(self, segment: _Segment, packer: Packer) -> Part:
        given = [value for value in read_by(segment.nodes) if value not in segment.values]
        taps = [segment.nodes[-1].value]
        return Part(segment.nodes, given, taps, packer, self._graph.cache, self._pages)


@dataclass(frozen=True)
class _Segment:
    """Nodes between two places where a single value flows on."""

    nodes: tuple[ops.Node, ...]

    @cached_property
    def values(self) -> frozenset[ops.Value]:
        return frozenset(node.value for node in self.nodes)

    @cached_property
    def weights(self) -> frozenset[str]:
        return frozenset(name for node in self.nodes for name, _ in ops.weights_of(node))

    def numbers(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Numbers of the matrices that are multiplied."""
        linears = (n.operation for n in self.nodes if isinstance(n.operation, ops.Linear))
        return sum(math.prod(shapes[linear.weight]) for linear in linears)


def _segments(nodes: Sequence[ops.Node]) -> list[_Segment]:
    """The nodes, cut wherever no more than one value is read from then on."""
    last = {value: at for at, node in enumerate(nodes) for value in ops.inputs(node.operation)}
    segments, begin = [], 0
    live: set[ops.Value] = set()
    for at, node in enumerate(nodes):
        live = {value for value in (*live, node.value) if last.get(value, at) > at}
        if len(live) <= 1:
            segments.append(_Segment(tuple(nodes[begin : at + 1])))
            begin = at + 1
    return segments


def _run(part: Part, step: Step, segment: _Segment, before: _Flow) -> _Flow:
    """What a segment makes of what flows into it."""
    after = np.empty((len(step.ids), segment.nodes[-1].value.width), np.float32)
    part.run(step, before, [after])
    return [after]


def _rows(flow: _Flow, rows: slice) -> _Flow:
    return [value[rows] for value in flow]
