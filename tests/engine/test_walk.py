"""The walk over calibration texts: what a graph's products read, stop by stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.tiny import ModelType, tiny_config, tiny_weights

from lichen import _core, models
from lichen import graph as ops
from lichen.engine import Engine
from lichen.engine.walk import Stop, Walk
from lichen.errors import InputError
from lichen.reference import Reference
from lichen.schemes import ActivationScheme, int4, int8
from lichen.solvers import absmax
from lichen.tensor import AnyTensor

Array = npt.NDArray[Any]
Weights = dict[str, Any]

ISA = _core.supported_isas()[-1]
#: Of one token, of less than a page, and longer than a step; many of them share a step.
SEQUENCES = [
    np.random.default_rng(seed).integers(3, 300, length).astype(np.int32)
    for seed, length in enumerate((600, 5, 40, 1, 70, 31, 33))
]
#: How a matrix is stored.
FORMS: dict[str, Callable[[Array], AnyTensor]] = {
    "float32": lambda weight: weight,
    "float16": lambda weight: weight.astype(np.float16),
    "int8-float-inputs": lambda weight: absmax.solve(weight, int8.SCHEME),
    "int4-float-inputs": lambda weight: absmax.solve(weight, int4.SCHEME),
    "int8": lambda weight: replace(
        absmax.solve(weight, int8.SCHEME), activations=ActivationScheme()
    ),
}


def tiny(form: str, model_type: ModelType = "qwen2", **sizes: Any) -> tuple[ops.Graph, Weights]:
    """A random model with GQA; the matrices of its blocks are stored as `form`."""
    config = tiny_config(model_type, **sizes)
    weights: Weights = tiny_weights(config)
    for name, weight in weights.items():
        if "proj.weight" in name:
            weights[name] = FORMS[form](weight)
    return models.build(config), weights


def walk(
    graph: ops.Graph, weights: Weights, *, threads: int = 1, hold_bytes: int = 1 << 30
) -> Walk:
    read = weights.__getitem__
    return Walk(graph, read, SEQUENCES, isa=ISA, threads=threads, hold_bytes=hold_bytes)


def seen(stops: Walk, act: Callable[[int, Stop], None] | None = None) -> list[Array]:
    """The whole input of every stop, after `act`."""
    found = []
    for number, stop in enumerate(stops):
        if act:
            act(number, stop)
        found.append(np.concatenate(list(stop.inputs())))
    return found


def equal_bits(left: list[Array], right: list[Array]) -> bool:
    return [x.tobytes() for x in left] == [x.tobytes() for x in right]


class Recorder(Reference):
    """Keeps what products read; divides it first where it is told to."""

    def __init__(self, graph: ops.Graph, weights: Weights, divisors: dict[int, Array]) -> None:
        super().__init__(graph, weights)
        self.inputs: dict[int, Array] = {}
        self._divisors = divisors

    def _run(self, operation: ops.Operation, values: list[Array], *others: Any) -> Array:
        if isinstance(operation, ops.Linear) and operation.x.index not in self.inputs:
            if len(self.inputs) in self._divisors:
                values[operation.x.index] /= self._divisors[len(self.inputs)]
            self.inputs[operation.x.index] = values[operation.x.index].copy()
        return super()._run(operation, values, *others)


def by_reference(
    graph: ops.Graph, weights: Weights, divisors: dict[int, Array] | None = None
) -> list[Array]:
    recorders = [Recorder(graph, weights, divisors or {}) for _ in SEQUENCES]
    for recorder, ids in zip(recorders, SEQUENCES, strict=True):
        recorder.step(ids, np.arange(len(ids), dtype=np.int32))
    return [
        np.concatenate(rows) for rows in zip(*(r.inputs.values() for r in recorders), strict=True)
    ]


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
@pytest.mark.parametrize("form", ["float32", "float16", "int8-float-inputs", "int4-float-inputs"])
def test_inputs_are_those_of_the_reference(model_type: ModelType, form: str) -> None:
    """Products of codes with floats round the floats to 16 bits."""
    lost = 1e-3 if form.endswith("float-inputs") else 2e-4
    graph, weights = tiny(form, model_type)
    ours, theirs = seen(walk(graph, weights)), by_reference(graph, weights)
    assert len(ours) == len(theirs) == 9
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, atol=lost)


def test_inputs_behind_int8_products_are_those_of_the_reference() -> None:
    """Row by row: where x / scale lies next to a half, its last bit decides a code."""
    graph, weights = tiny("int8", layers=1)
    for x, y in zip(seen(walk(graph, weights)), by_reference(graph, weights), strict=True):
        assert (np.abs(x - y).max(axis=1) < 1e-4).mean() >= 0.5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_the_engine_computes_the_same_bits(model_type: ModelType, form: str) -> None:
    graph, weights = tiny(form, model_type)
    last = seen(walk(graph, weights))[-1]
    table = np.ascontiguousarray(weights["model.embed_tokens.weight"])
    pool = _core.ThreadPool(1)
    head = _core.Linear(pool, table, "f32", None, None, ISA)
    read, size = weights.__getitem__, 1 << 20
    engine = Engine(graph, read, isa=ISA, threads=1, cache_bytes=size, kv_cache="float32")
    logits = [piece for ids in SEQUENCES for piece in engine.logits(ids)]
    assert equal_bits([head.apply(pool, last)], [np.concatenate(logits)])


@pytest.mark.parametrize("form", FORMS)
def test_threads_and_memory_change_no_bit(form: str) -> None:
    graph, weights = tiny(form)
    expected = seen(walk(graph, weights, threads=1))
    assert equal_bits(seen(walk(graph, weights, threads=2)), expected)
    assert equal_bits(seen(walk(graph, weights, threads=2, hold_bytes=0)), expected)


def test_wide_inputs_are_made_again_where_memory_is_short() -> None:
    graph, weights = tiny("float32")
    short, plenty = walk(graph, weights, hold_bytes=0), walk(graph, weights)
    assert [stop.held for stop in short] == [True, True, True, False] * 2 + [True]
    assert all(stop.held for stop in plenty)


@pytest.mark.parametrize("hold_bytes", [0, 1 << 30])
def test_a_power_of_two_divided_out_and_multiplied_in_changes_nothing(hold_bytes: int) -> None:
    graph, weights = tiny("float32")
    expected = seen(walk(graph, weights))
    changed = dict(weights)

    def divide(number: int, stop: Stop) -> None:
        s = np.exp2(np.random.default_rng(number).integers(-3, 4, stop.width)).astype(np.float32)
        stop.divide(s)
        expected[number] = expected[number] / s
        for linear in stop.linears:
            changed[linear.weight] = weights[linear.weight] * s

    assert equal_bits(seen(walk(graph, changed, hold_bytes=hold_bytes), divide), expected)


def test_what_is_divided_stays_divided_for_all_that_follows() -> None:
    graph, weights = tiny("float32")
    plain = by_reference(graph, weights)
    s = {n: np.linspace(0.5, 2, x.shape[1], dtype=np.float32) for n, x in enumerate(plain)}
    found = {
        hold: seen(walk(graph, weights, hold_bytes=hold), lambda n, stop: stop.divide(s[n]))
        for hold in (0, 1 << 30)
    }
    assert equal_bits(found[0], found[1 << 30])
    for x, y in zip(found[0], by_reference(graph, weights, s), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4)


def test_dividing_twice_is_the_same_held_or_made_again() -> None:
    graph, weights = tiny("float32")

    def divide(number: int, stop: Stop) -> None:
        stop.divide(np.full(stop.width, 3, np.float32))
        stop.divide(np.full(stop.width, 7, np.float32))

    held = seen(walk(graph, weights), divide)
    assert equal_bits(seen(walk(graph, weights, hold_bytes=0), divide), held)


def test_inputs_can_be_asked_for_again_in_the_same_pieces() -> None:
    for hold_bytes in (0, 1 << 30):
        for stop in walk(*tiny("int8"), hold_bytes=hold_bytes):
            first, again = list(stop.inputs()), list(stop.inputs())
            assert [len(piece) for piece in first] == [512, sum(map(len, SEQUENCES)) - 512]
            assert (stop.tokens, stop.width) == np.concatenate(first).shape
            assert equal_bits(first, again)


def test_a_weight_is_read_when_its_stop_has_been_left() -> None:
    graph, weights = tiny("float32", tied=False)
    asked: list[str] = []

    def read(name: str) -> AnyTensor:
        asked.append(name)
        return weights[name]

    left: set[str] = set()
    for stop in Walk(graph, read, SEQUENCES, isa=ISA, threads=1):
        matrices = {name for name in asked if weights[name].ndim == 2}
        assert matrices == left | {"model.embed_tokens.weight"}
        left |= {linear.weight for linear in stop.linears}
    assert "lm_head.weight" in left
    assert "lm_head.weight" not in asked
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("tied", [True, False])
def test_stops_name_their_products_and_what_made_the_input(tied: bool) -> None:
    graph, weights = tiny("float32", layers=1, tied=tied)
    stops = walk(graph, weights)
    assert len(stops) == 5
    names = [
        ([linear.weight.split(".")[-2] for linear in stop.linears], type(stop.maker.operation))
        for stop in stops
    ]
    assert names == [
        (["q_proj", "k_proj", "v_proj"], ops.RMSNorm),
        (["o_proj"], ops.Attention),
        (["gate_proj", "up_proj"], ops.RMSNorm),
        (["down_proj"], ops.SiluMul),
        (["embed_tokens" if tied else "lm_head"], ops.RMSNorm),
    ]


def test_an_input_cannot_be_written_to_nor_read_when_its_stop_has_been_left() -> None:
    stops = iter(walk(*tiny("float32")))
    stop = next(stops)
    with pytest.raises(ValueError, match="read-only"):
        next(stop.inputs())[0] = 0
    with pytest.raises(ValueError, match=r"shape \[3\], the input 64 columns"):
        stop.divide(np.ones(3, np.float32))
    next(stops)
    with pytest.raises(RuntimeError, match="has been left"):
        next(stop.inputs())


@pytest.mark.parametrize(
    ("lengths", "words"),
    [([], "at least one token"), ([3, 0], "at least one token"), ([2000], "context of 1024")],
)
def test_sequences_that_do_not_fit_are_refused(lengths: list[int], words: str) -> None:
    graph, weights = tiny("float32")
    sequences = [np.zeros(length, np.int32) for length in lengths]
    with pytest.raises(InputError, match=words):
        Walk(graph, weights.__getitem__, sequences, isa=ISA, threads=1)
