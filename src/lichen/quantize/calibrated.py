"""Quantizing with inputs in sight: the model is run on text, from one product's input to the next.

At each input the weights that read it are quantized, and what follows is computed with the
quantized ones; so every layer is fitted to what it will really meet (arXiv 2210.17323, section 4).
A block of the model is one weight file, and what an interrupted run goes on after.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lichen.calibration import sequences
from lichen.checkpoint.atomic import SafetensorsWriter, Written, shard_name, to_disk, write_index
from lichen.checkpoint.manifest import Manifest
from lichen.code_text import CodeText
from lichen.engine.machine import choose_isa, choose_threads
from lichen.engine.walk import Stop, Walk
from lichen.errors import InputError
from lichen.quantize import calibration_record, fingerprint, finish, prediction, require_space
from lichen.quantize.absorb import absorber
from lichen.quantize.assignment import Assignment
from lichen.quantize.layers import kept, quantized, read_finite, read_floats, written
from lichen.quantize.pieces import in_pieces, quantized_unseen, written_in_pieces
from lichen.quantize.progress import Told
from lichen.quantize.records import Records
from lichen.quantize.unfinished import State, UnfinishedFolder, Unit
from lichen.recipe import Rule
from lichen.reuse import forgetting, reusing
from lichen.schemes import to_float32
from lichen.solvers import needs, scaling
from lichen.solvers.statistics import Collector, InputStatistics
from lichen.tensor import AnyTensor, Quantized
from lichen.tokenizer import Tokenizer

Float32 = npt.NDArray[np.float32]

#: Arrays whose memory is used again: fewer bytes are nothing beside what is computed of them.
_LARGE_BYTES = 16 << 20

_BLOCK = re.compile(r"(.*?\.\d+)\.")


def quantize_calibrated(
    work: Assignment,
    tokenizer: Tokenizer,
    text: CodeText,
    out: Path,
    *,
    force: bool,
    threads: int | None,
    isa: str | None,
    told: Told,
) -> Manifest:
    """Quantize into ``out`` by a recipe that asks to see inputs; see `lichen.quantize.quantize`."""
    size = work.recipe.calibration
    pieces = sequences(
        text,
        tokenizer.encode_literally,
        count=size.sequences,
        length=size.length,
        seed=size.seed,
    )
    unfinished = UnfinishedFolder(out, _mark(work, text), force=force)
    with unfinished as folder, reusing(_LARGE_BYTES):
        require_space(folder, _weight_bytes(work) + _live_bytes(work, pieces))
        chosen_isa, cores = choose_isa(isa), choose_threads(threads)
        work = _with_formats(work, pieces[0], unfinished, told, isa=chosen_isa, threads=cores)
        told.say(prediction(work))
        if unfinished.spoilt:
            told.say(f"{unfinished.spoilt} is not as it was written, so all blocks are made anew")
        if unfinished.state.units:
            told.say(f"going on after {len(unfinished.state.units)} whole weight files")
        run = _Run(work, unfinished, folder, told)
        run.through(
            Walk(
                work.graph,
                run.read,
                pieces,
                isa=chosen_isa,
                threads=cores,
                start=unfinished.state.stop,
                live=unfinished.live(),
            )
        )
        return finish(work, folder, run.records, calibration_record(work.recipe, text))


def _mark(work: Assignment, text: CodeText) -> str:
    """What the beginning of a run has to show to be gone on with."""
    mark = fingerprint(work.source.digest(), work.recipe, text)
    return f"{mark} {sorted(work.chosen.items())}" if work.chosen else mark


def _weight_bytes(work: Assignment) -> int:
    """The size of the weight files; layers with a choice take no more than the recipe's budget."""
    most = sum(map(work.stored_bits, work.undecided))
    budget = math.ceil((work.recipe.bits or 0) * sum(map(work.count, work.undecided)))
    return work.predicted_bytes() - max(0, most - budget) // 8


def _live_bytes(work: Assignment, pieces: Sequence[npt.NDArray[np.int32]]) -> int:
    """What is saved to go on with: the residual stream and its norm, twice while one is written."""
    return 2 * 2 * 4 * sum(map(len, pieces)) * int(work.source.config["hidden_size"])


def _with_formats(
    work: Assignment,
    ids: npt.NDArray[np.int32],
    unfinished: UnfinishedFolder,
    told: Told,
    *,
    isa: str,
    threads: int,
) -> Assignment:
    """The work with one format for each layer, also where the recipe leaves a choice."""
    if not work.choices:
        return work
    from lichen.quantize.choosing import TOKENS, choose

    told.say("measuring what each group of layers costs in its coarsest format")
    return choose(
        work,
        ids[:TOKENS],
        isa=isa,
        threads=threads,
        known=unfinished.state.sensitivity,
        measured=unfinished.save,
        told=told,
    )


class _Run:
    """What has been made of the block at hand, and where it goes when the next one begins."""

    def __init__(
        self,
        work: Assignment,
        unfinished: UnfinishedFolder,
        folder: Path,
        told: Told,
    ) -> None:
        self._work = work
        self._unfinished = unfinished
        self._folder = folder
        self._units = units(work.names)
        self._made: dict[str, AnyTensor] = {}
        self._block = Records()
        self._waiting = set(filter(self._sees, work.to_quantize))
        self._progress = told.counting(self._slow(work.names))
        for names in self._units[: len(self._state.units)]:
            self._waiting.difference_update(names)
            self._progress.add(self._slow(names))

    @property
    def _state(self) -> State:
        return self._unfinished.state

    @property
    def records(self) -> Records:
        """Of all units that are written."""
        done = self._state.units
        return Records([r for u in done for r in u.layers], [r for u in done for r in u.narrowed])

    def through(self, walk: Walk) -> None:
        """Quantize at every stop of the walk, then what needs none."""
        if self._waiting:
            self._walk(walk)  # whose values are gone by the time that the rest is written
        while len(self._state.units) < len(self._units):
            self._write_unit()
            self._unfinished.save()
        self._write_index()

    def _walk(self, walk: Walk) -> None:
        for stop in walk:
            self._write_until(stop)
            self._quantize(stop)
            if not self._waiting:
                return

    def read(self, name: str) -> AnyTensor:
        """A weight as the folder has it, for the walk."""
        if name in self._made:
            return self._made[name]
        with forgetting():  # an embedding is as large as nothing after it
            if name in self._work.to_quantize:  # what has a stop is never read before it
                return quantized_unseen(self._work, name)[0]
            return kept(self._work, name, read_floats(self._work, name))[0]

    def _write_until(self, stop: Stop) -> None:
        """Where another block begins, the one before is whole."""
        name = stop.linears[0].weight
        before = len(self._state.units)
        while name not in self._units[len(self._state.units)]:
            self._write_unit()
        if len(self._state.units) > before:
            self._state.stop = stop.number
            self._unfinished.save(stop.live())

    def _quantize(self, stop: Stop) -> None:
        """The weights that read the stop's input."""
        work = self._work
        names = [op.weight for op in stop.linears if op.weight in work.to_quantize]
        if not names:
            return
        factors = self._balance(stop, names)
        inputs = self._inputs(stop, names)
        for name in names:
            weight = read_floats(work, name)
            if factors is not None:
                weight = to_float32(weight) * factors
            self._made[name] = self._block.quantized(quantized(work, name, weight, inputs))
            self._progress.add(self._slow([name]))
        self._waiting.difference_update(names)

    def _balance(self, stop: Stop, names: list[str]) -> Float32 | None:
        """Move range from the input into the weights, where the recipe wants it and it can be."""
        rule = self._rule(names[0])
        place = absorber(self._work.graph, stop.linears[0].x)
        if rule.scaling is None or place is None:
            return None
        inputs = self._seen(stop, needs(rule.scaling.name))
        weights = [read_finite(self._work, name) for name in names]
        try:
            factors = scaling(rule.scaling.name).balance(
                weights,
                self._work.scheme(names[0]),
                inputs,
                rule.activations,
                **rule.scaling.options,
            )
        except ValueError as error:  # of one of them, in a format that need not be its own
            raise InputError(
                f"{self._work.source.path}: {', '.join(names)}: {error}, so {rule.scaling.name} has"
                " nothing to go by; choose a recipe without scaling."
            ) from None
        moved = place.divide(to_float32(factors), self.read, self._made.__setitem__)
        stop.divide(moved)
        return moved

    def _inputs(self, stop: Stop, names: list[str]) -> InputStatistics | None:
        """What the rules of these weights ask to see; nothing where none does."""
        rules = [self._rule(name) for name in names]
        if not any(rule.calibrated for rule in rules):
            return None
        asked = {"sample"}.union(*(needs(rule.solver.name) for rule in rules))
        if any(rule.static for rule in rules):
            asked.add("histogram")
        return self._seen(stop, frozenset(asked))

    def _seen(self, stop: Stop, asked: frozenset[str]) -> InputStatistics:
        collector = Collector(stop.width, stop.tokens, asked)
        try:
            for piece in stop.inputs():
                collector.add(piece)
        except ValueError as error:
            raise InputError(
                f"{self._work.source.path}: {stop.linears[0].weight}: {error} on the calibration"
                " text, though the weights are; this model cannot be calibrated."
            ) from None
        return collector.result()

    def _rule(self, name: str) -> Rule:
        return self._work.to_quantize[name][1]

    def _sees(self, name: str) -> bool:
        """Whether a tensor is quantized by what its input is."""
        return name in self._work.to_quantize and self._rule(name).calibrated

    def _slow(self, names: Sequence[str]) -> int:
        """How many weights take time; an embedding has those of several blocks, and takes none."""
        return sum(self._work.count(n) for n in names if _BLOCK.match(n) or self._sees(n))

    def _write_unit(self) -> None:
        """Write the next unit, whole or not at all."""
        number = len(self._state.units)
        file = shard_name(number + 1, len(self._units))
        fresh = self._folder / f"{file}.partial"
        writer = SafetensorsWriter(fresh)
        try:
            for name in self._units[number]:
                for part, array in self._parts(name):
                    writer.write(part, array)
                    del array  # or it would be held while the next one is made
            writer.close()
        except BaseException:
            writer.abandon()
            raise
        to_disk(fresh)
        fresh.rename(self._folder / file)
        self._state.units.append(
            Unit(
                file=file,
                tensors=writer.names,
                bytes=writer.data_bytes,
                layers=self._block.layers,
                narrowed=self._block.narrowed,
            )
        )
        self._block = Records()
        self._made.clear()

    def _parts(self, name: str) -> Iterator[tuple[str, Written]]:
        """A tensor of the unit as it is stored."""
        work, made = self._work, self._made.get(name)
        if made is None and in_pieces(work, name):
            yield from written_in_pieces(work, name, self._block)
        elif made is None and name in work.to_quantize:
            made = self._block.quantized(quantized_unseen(work, name))
        elif made is None:
            made = self._block.kept(kept(work, name, read_floats(work, name)))
        if isinstance(made, Quantized):
            yield from written(work, name, made).items()
        elif made is not None:
            assert isinstance(made, np.ndarray)
            yield name, made
        if name not in work.to_quantize or name not in self._made:
            self._progress.add(self._slow([name]))

    def _write_index(self) -> None:
        done = self._state.units
        placement = {name: unit.file for unit in done for name in unit.tensors}
        write_index(self._folder, placement, sum(unit.bytes for unit in done))


def units(names: Sequence[str]) -> list[list[str]]:
    """Tensors in the order to write them: the blocks of the model one by one, then all others."""
    blocks: dict[str, list[str]] = {}
    for name in names:
        found = _BLOCK.match(name)
        blocks.setdefault(found[1] if found else "", []).append(name)
    rest = blocks.pop("", [])
    ordered = sorted(blocks, key=lambda block: int(block.rpartition(".")[2]))
    return [blocks[block] for block in ordered] + ([rest] if rest else [])
