"""Prompts in, text out, on tiny random models: batching, stopping, streaming, limits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from safetensors.numpy import load_file, save_file
from tests.checkpoint.tiny_gguf import write_tiny_gguf
from tests.quantized import write_quantized
from tests.tiny import write_json, write_tiny_model
from tests.wide import LOST

from lichen import _core
from lichen.checkpoint.quantization_config import LayerFormat
from lichen.completion import Completion, Request
from lichen.engine import Generation, scheduler
from lichen.engine.sampling import Sampler
from lichen.errors import InputError, ResourceError
from lichen.loading import LanguageModel, load
from lichen.schemes import ActivationScheme, Scheme

#: Of 32 tokens: keys and values of two layers with two heads of 16 numbers of float16.
PAGE_BYTES = 2 * 2 * 2 * 16 * 2 * 32
#: What messages call arguments, where they do not call them by their names.
WORDS = {"isa": "instruction set"}
PROMPTS = [f"def function_{n}(values):\n    " + "x = 1\n    " * (n % 7) for n in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load(folder, threads=2)


def answers(model: LanguageModel, requests: list[Request]) -> list[Completion]:
    done = dict(model.generate(requests))
    return [done[number] for number in range(len(requests))]


def test_answers_do_not_depend_on_the_batch(model: LanguageModel) -> None:
    requests = [Request(prompt, max_tokens=12) for prompt in PROMPTS]
    together = answers(model, requests)
    alone = [answers(model, [request])[0] for request in requests[::7]]
    assert together[::7] == alone


def test_answers_do_not_depend_on_the_threads(folder: Path, model: LanguageModel) -> None:
    requests = [Request(prompt, max_tokens=12) for prompt in PROMPTS]
    assert answers(load(folder, threads=1), requests) == answers(model, requests)


def test_answers_do_not_depend_on_sharing(model: LanguageModel, monkeypatch) -> None:
    """One prompt many times, with the step cut small enough that sharers overlap the writer."""
    prompt = "class Stack:\n" + "    def push(self, item):\n        pass\n" * 8
    expected = answers(model, [Request(prompt, max_tokens=8)])[0]
    monkeypatch.setattr(scheduler, "STEP_TOKENS", 40)
    longer = [Request(prompt + "    def pop" + "x" * n, max_tokens=8) for n in range(3)]
    got = answers(model, [*longer, *[Request(prompt, max_tokens=8)] * 5, *longer])
    assert got[3:8] == [expected] * 5
    assert got[:3] == got[8:]


def test_a_small_cache_makes_requests_wait(folder: Path, model: LanguageModel) -> None:
    requests = [Request(prompt, max_tokens=12) for prompt in PROMPTS]
    small = load(folder, threads=2, cache_bytes=60_000)
    assert small.engine.token_capacity < 300
    assert answers(small, requests) == answers(model, requests)


def test_scoring_is_told_when_answers_hold_the_cache(folder: Path) -> None:
    small = load(folder, threads=1, cache_bytes=8 * PAGE_BYTES)
    ids = [5] * 200
    writing = small.stream(Request("def f(", max_tokens=100))
    next(writing)
    with pytest.raises(ResourceError, match="cache is taken by answers that are being written"):
        next(small.logprobs(ids))
    writing.close()
    scoring = small.logprobs(ids)
    next(scoring)
    with pytest.raises(ResourceError, match="or by another text that is being scored"):
        next(small.logprobs(ids))
    scoring.close()
    assert sum(len(piece) for piece in small.logprobs(ids)) == 200
    with pytest.raises(InputError, match=r"257 tokens is too long: .* room for 256"):
        next(small.logprobs([5] * 257))


def test_an_answer_ends_where_its_room_does(folder: Path) -> None:
    small = load(folder, threads=1, cache_bytes=2 * PAGE_BYTES)
    [answer] = answers(small, [Request("def f(", max_tokens=10**6)])
    assert answer.finish_reason == "length"
    assert answer.prompt_tokens + answer.tokens == small.engine.token_capacity == 64


def test_sampling_depends_on_the_seed_alone(model: LanguageModel) -> None:
    requests = [Request("def f(", max_tokens=12, temperature=1.0, seed=s) for s in range(6)]
    together = answers(model, requests)
    assert together[::2] == [answers(model, [request])[0] for request in requests[::2]]
    assert len({completion.text for completion in together}) > 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_guesses_change_no_answer(folder: Path, temperature: float) -> None:
    requests = [
        Request(prompt, max_tokens=60, temperature=temperature, seed=n, stop=("zz", "e("))
        for n, prompt in enumerate(PROMPTS[:12])
    ]
    plain = load(folder, threads=1, speculate=False)
    guessing = load(folder, threads=1)
    drafted = load(folder, threads=1, draft=load(folder, threads=1))
    assert answers(guessing, requests) == answers(plain, requests)
    assert answers(drafted, requests[:4]) == answers(plain, requests[:4])
    for request in requests[:3]:
        assert "".join(guessing.stream(request)) == answers(plain, [request])[0].text


def test_a_draft_model_with_other_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    other = load(write_tiny_model(tmp_path / "other", vocab=300))
    with pytest.raises(InputError, match="draft model other has another tokenizer"):
        load(folder, draft=other)


def test_cancelled_requests_end_with_what_they_have(model: LanguageModel) -> None:
    requests = [Request(prompt, max_tokens=12) for prompt in PROMPTS[:6]]
    whole = answers(model, requests)
    cancelled = {4}
    done = {}
    for number, completion in model.generate(iter(requests), cancelled):
        done[number] = completion
        cancelled.add(5)  # it may have ended already
    assert [done[number] for number in range(4)] == whole[:4]
    assert (done[4].text, done[4].tokens, done[4].finish_reason) == ("", 0, "cancelled")
    assert done[5] == whole[5] or done[5].finish_reason == "cancelled"


def test_requests_are_read_as_there_is_room(model: LanguageModel) -> None:
    read = []

    def requests():
        for number in range(200):
            read.append(number)
            yield Request(PROMPTS[number % 40], max_tokens=1 + number % 3)

    for done, _ in enumerate(model.generate(requests()), 1):
        assert len(read) <= done + 2 * scheduler.MAX_SEQUENCES
    assert len(read) == 200


def test_a_bad_request_in_a_queue_ends_the_run(model: LanguageModel) -> None:
    requests = [Request("def f(", max_tokens=2), Request("", max_tokens=2)]
    with pytest.raises(InputError, match="prompt is empty"):
        list(model.generate(requests))
    assert len(answers(model, requests[:1])) == 1


def test_no_requests_have_no_answers(model: LanguageModel) -> None:
    assert list(model.generate([])) == []


def test_more_threads_than_cores_give_the_same_answers(folder: Path, model: LanguageModel) -> None:
    cores = len(os.sched_getaffinity(0))
    requests = [Request(prompt, max_tokens=6) for prompt in PROMPTS[:4]]
    assert answers(load(folder, threads=cores + 1), requests) == answers(model, requests)
    with pytest.raises(InputError, match=f"threads is {4 * cores + 1}.*1 to {4 * cores}"):
        load(folder, threads=4 * cores + 1)


def test_a_cache_larger_than_memory_is_refused(folder: Path) -> None:
    with pytest.raises(ResourceError, match=r"cache 1\.15e\+09 GB, but only .* available"):
        load(folder, cache_bytes=1 << 60)


def test_stop_strings_are_cut_off(model: LanguageModel) -> None:
    whole = answers(model, [Request("def f(", max_tokens=24)])[0]
    stop = whole.text[4:7]
    cut = answers(model, [Request("def f(", max_tokens=24, stop=("never", stop))])[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.tokens < whole.tokens
    assert whole.finish_reason == "length"


@pytest.mark.parametrize("stop", [(), ("zzzz",), ("e", "tur")], ids=["none", "absent", "present"])
def test_streaming_gives_the_same_text(model: LanguageModel, stop: tuple[str, ...]) -> None:
    for prompt in PROMPTS[:6]:
        request = Request(prompt, max_tokens=20, stop=stop)
        assert "".join(model.stream(request)) == answers(model, [request])[0].text


def test_an_abandoned_run_leaves_nothing_behind(model: LanguageModel) -> None:
    requests = [Request(prompt, max_tokens=n + 1) for n, prompt in enumerate(PROMPTS)]
    expected = answers(model, requests)
    run = model.generate(requests)
    next(run)
    run.close()
    assert answers(model, requests) == expected


def test_two_runs_at_once_are_refused(model: LanguageModel) -> None:
    run = model.generate([Request("def f(", max_tokens=n) for n in (1, 5)])
    next(run)
    with pytest.raises(RuntimeError, match="already running"):
        next(model.generate([Request("def g(", max_tokens=1)]))
    run.close()


def test_logprobs_are_those_of_greedy_decoding(model: LanguageModel) -> None:
    prompt = model.tokenizer.encode(PROMPTS[3] * 12)
    rows = np.concatenate(list(model.logprobs(prompt)))
    assert rows.shape[0] == len(prompt)
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1.0, rtol=1e-4)
    following = answers(model, [Request(PROMPTS[3] * 12, max_tokens=1)])[0]
    assert model.tokenizer.decode([int(rows[-1].argmax())]) == following.text


BAD = [
    pytest.param(Request("", max_tokens=4), "prompt is empty", id="empty"),
    pytest.param(Request("x " * 5000, max_tokens=4), "there is room for", id="too-long"),
    pytest.param(Request("x", max_tokens=0), "max_tokens", id="no-tokens"),
    pytest.param(Request("x", temperature=-1.0), "temperature", id="negative-temperature"),
    pytest.param(Request("x", temperature=float("nan")), "temperature", id="nan-temperature"),
    pytest.param(Request("x", top_p=0.0), "top_p", id="zero-top-p"),
    pytest.param(Request("x", stop=("",)), "stop string", id="empty-stop"),
]


@pytest.mark.parametrize(("request_", "words"), BAD)
def test_bad_requests_are_refused_in_words(model, request_: Request, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(model.generate([request_]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"model_type": "mystery"}, "model_type 'mystery'", id="unknown-type"),
        pytest.param({"attention_sinks": 4}, "attention_sinks", id="unknown-field"),
        pytest.param({"hidden_act": "gelu"}, "hidden_act", id="other-activation"),
        pytest.param({"use_sliding_window": True}, "sliding-window", id="sliding-window"),
        pytest.param({"hidden_size": "64"}, "hidden_size", id="wrong-type"),
        pytest.param({"num_attention_heads": 0}, "num_attention_heads", id="no-heads"),
        pytest.param({"rope_scaling": {"rope_type": "yarn"}}, "yarn", id="unknown-rope"),
        pytest.param({"intermediate_size": 100}, "has shape", id="shape-differs"),
        pytest.param({"num_hidden_layers": 9}, "tensors that config.json asks for", id="missing"),
    ],
)
def test_bad_configs_are_refused_in_words(tmp_path: Path, change: dict, words: str) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=words):
        load(folder)


@pytest.mark.parametrize(
    "argument",
    [
        *({"dtype": "int3"}, {"isa": "neon9"}, {"threads": 0}),
        *({"cache_bytes": 0}, {"cache_bytes": -1}),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_in_words(folder: Path, argument: dict) -> None:
    [(name, value)] = argument.items()
    with pytest.raises(InputError, match=f"{WORDS.get(name, name)}.*{value}"):
        load(folder, **argument)


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
@pytest.mark.parametrize("kind", [GgmlType.Q8_0, GgmlType.Q4_0, GgmlType.Q5_1], ids=str)
def test_gguf_blocks_compute_what_float32_does(
    tmp_path: Path, model_type: str, kind: GgmlType
) -> None:
    """The rows of llama's queries and keys are put in order, scales and shifts with them."""
    folder = write_tiny_model(tmp_path / "hf", model_type)
    path = write_tiny_gguf(tmp_path / "tiny.gguf", folder, kind=kind)
    ids = np.arange(3, 40, dtype=np.int32)
    ours, theirs = (
        np.concatenate(list(load(path, dtype=dtype, kv_cache="float32").engine.logits(ids)))
        for dtype in ("auto", "float32")
    )
    np.testing.assert_allclose(ours, theirs, atol=LOST)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_float_types_are_kept_or_converted(tmp_path: Path, dtype: str) -> None:
    folder = write_tiny_model(tmp_path / "tiny", dtype=dtype)
    assert load(folder).scheme == dtype
    assert load(folder, dtype="float32").scheme == "float32"
    same = [Request(prompt, max_tokens=8) for prompt in PROMPTS[:4]]
    assert answers(load(folder), same) == answers(load(folder, dtype="float32"), same)


def test_clip_leaves_room_for_the_whole_answer(model: LanguageModel) -> None:
    capacity = model.engine.token_capacity
    long = Request("def f(x):\n    return x\n" * capacity, max_tokens=20)
    clipped = model.clip(long)
    tokens = len(model.tokenizer.encode(clipped.prompt))
    assert capacity - 40 < tokens <= capacity - 20
    assert long.prompt.startswith(clipped.prompt)
    [answer] = answers(model, [clipped])
    assert answer.tokens == 20 or answer.finish_reason != "length"
    brief = Request("def f(x):\n", max_tokens=20)
    assert model.clip(brief) is brief


def test_a_stream_returns_its_completion(model: LanguageModel) -> None:
    request = Request("def f(x):\n", max_tokens=7)
    returned: list[Completion] = []

    def listen() -> Generator[str, None, None]:
        returned.append((yield from model.stream(request)))

    pieces = list(listen())
    assert returned == answers(model, [request])
    assert returned[0].text == "".join(pieces)


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_a_file_cut_off_while_it_is_loaded_is_an_error(tmp_path: Path, monkeypatch, kind) -> None:
    """Weights are read as they are packed, when the header has long been checked."""
    path = write_tiny_model(tmp_path / "tiny")
    file = path / "model.safetensors"
    if kind == "gguf":
        path = file = write_tiny_gguf(tmp_path / "tiny.gguf", path)
    whole = file.stat().st_size
    monkeypatch.setattr("lichen.loading.require", lambda *_: os.truncate(file, whole // 2))
    words = rf"{file.name}: is shorter than it says; fetch the model again \(tensor model\."
    with pytest.raises(InputError, match=words):
        load(path)


NARROW = 384  # rows of tables before they are widened


def write_wide(folder: Path, kind: str, rows: int) -> Path:
    """A tiny model of 1024 columns, whose table has so many rows, and its own head in int8."""
    head = kind == "int8"
    shape: Any = {"hidden": 1024, "layers": 1, "tied": not head}
    wide = write_tiny_model(folder / "tiny", dtype="bfloat16" if head else kind, **shape)
    if head:
        rows_in_int8 = LayerFormat(Scheme(8), ActivationScheme())
        write_quantized(wide, folder / "int8", {"lm_head": rows_in_int8})
        wide = folder / "int8"
    tensors = load_file(wide / "model.safetensors")
    for name, tensor in tensors.items():
        if len(tensor) == NARROW:
            tensors[name] = np.resize(tensor, (rows, *tensor.shape[1:]))
    save_file(tensors, wide / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((wide / "config.json").read_text())
    write_json(wide / "config.json", config | {"vocab_size": rows})
    return wide


#: Loads sys.argv[1] with a small cache and asks it; how far memory grew meanwhile, in bytes.
GROWTH = """
import sys
from pathlib import Path
from lichen.completion import Request
from lichen.loading import load

def kilobytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

before = kilobytes("VmRSS:")
model = load(Path(sys.argv[1]), threads=2, cache_bytes=int(sys.argv[2]))
list(model.generate([Request("def f(", max_tokens=2)]))
print((kilobytes("VmHWM:") - before) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
@pytest.mark.parametrize(
    ("kind", "rows"), [("int8", 60_000), ("float16", 90_000), ("bfloat16", 90_000)]
)
def test_loading_holds_no_second_copy_of_the_weights(tmp_path: Path, kind: str, rows: int) -> None:
    """The peak, from the first byte of the file to the first answer."""
    folder, cache = write_wide(tmp_path, kind, rows), 1 << 20
    stored = (folder / "model.safetensors").stat().st_size
    command = [sys.executable, "-c", GROWTH, str(folder), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    assert stored > 100e6
    assert grown > 0.95 * stored, "the weights are not all in memory, so nothing was tried"
    assert grown < 1.15 * stored + cache


class TimedPlan:
    """A plan whose steps are timed."""

    def __init__(self, plan: _core.Plan) -> None:
        self._plan = plan
        self.seconds = 0.0

    def step(self, *arguments: Any) -> Any:
        begin = time.perf_counter()
        logits = self._plan.step(*arguments)
        self.seconds = time.perf_counter() - begin
        return logits


def test_a_token_costs_python_the_same_behind_any_context(tmp_path: Path) -> None:
    """What a step takes beside the plan's own time, the least of many.

    Answers are sampled, so that guesses are rare and steps many.
    """
    folder = write_tiny_model(tmp_path / "long", layers=1, heads=1, kv_heads=1)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"max_position_embeddings": 16_500})
    engine: Any = load(folder, threads=1).engine
    engine._plan = plan = TimedPlan(engine._plan)
    least = {}
    for length in (1000, 16_384):
        ids = np.random.default_rng(0).integers(384, size=length).tolist()
        spent, begin = [], time.perf_counter()
        for _ in engine.steps(Generation(ids, 100, lambda _: True, Sampler(1.0, 1.0, 0))):
            spent.append(time.perf_counter() - begin - plan.seconds)
            begin = time.perf_counter()
        least[length] = min(spent[-50:])
    assert least[16_384] < 3 * least[1000]
