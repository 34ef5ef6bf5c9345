"""Models behind a URL: real HTTP with honest servers, and with every kind of bad one."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from tests import fake_server
from tests.fake_server import (
    Behave,
    Call,
    Running,
    honest,
    listing,
    once_settled,
    serve,
    text_reply,
)
from tests.tiny import write_tiny_model
from tests.verify.fakes import FakeModel, write_tasks

from lichen.check import verify
from lichen.cli.main import run
from lichen.completion import Completion, Request
from lichen.errors import InputError, LichenError, ResourceError
from lichen.loading import LanguageModel, load
from lichen.remote import Access, RemoteModel, same_server
from lichen.report.markdown import render_markdown
from lichen.tasks import load as load_tasks
from lichen.tasks.extraction import program
from lichen.tasks.prompting import render
from lichen.verify.examine import Settings
from lichen.verify.record import Record

SECRET = "sk-never-to-be-seen-0123456789"
QUICK = Access(pause_seconds=0.01, timeout_seconds=10)
HASTY = Access(pause_seconds=0.01, timeout_seconds=0.3)
ASKED = Request("say hello", max_tokens=16, stop=("\n\n",))


def ask(url: str, *requests: Request, access: Access = QUICK) -> list[Completion]:
    model = RemoteModel(url, access=access)
    answers = dict(model.generate(requests or [ASKED]))
    return [answers[number] for number in range(len(answers))]


# An honest server


def test_answers_come_back_in_the_places_of_their_questions() -> None:
    requests = [Request(f"word {n}", 16, seed=n) for n in range(23)]
    with serve(honest) as server:
        answers = ask(server.url, *requests)
    assert [a.text for a in answers] == [str(n) for n in range(23)]
    assert answers[0] == Completion("0", "stop", 7, 1)


def test_the_prompt_and_its_sampling_are_sent_as_they_are() -> None:
    request = Request("<|im_start|>é\n", 5, 0.5, 0.9, 42, ("\n\n", "##"))
    with serve(honest) as server:
        ask(server.url, request)
        [sent] = [c for c in server.posted() if c["max_tokens"] == 5]
    expected = {
        "model": "tiny", "prompt": "<|im_start|>é\n", "max_tokens": 5, "temperature": 0.5,
        "top_p": 0.9, "seed": 42, "stop": ["\n\n", "##"], "stream": False,
    }  # fmt: skip
    assert sent.items() >= expected.items()
    assert sent["repetition_penalty"] == sent["repeat_penalty"] == 1.0


@pytest.mark.parametrize("parallel", [1, 3])
def test_no_more_requests_run_at_a_time_than_allowed(parallel: int) -> None:
    lock, now, most = threading.Lock(), Counter[str](), Counter[str]()

    def slow(call: Call) -> None:
        with lock:
            now["n"] += 1
            most["n"] = max(most["n"], now["n"])
        time.sleep(0.03)
        with lock:
            now["n"] -= 1
        honest(call)

    access = Access(parallel=parallel)
    with serve(once_settled(slow)) as server:
        ask(server.url, *[Request(str(n), 4) for n in range(12)], access=access)
    assert most["n"] == parallel


def test_the_text_is_cut_at_the_earliest_stop_whatever_the_server_does() -> None:
    def deaf(call: Call) -> None:
        call.send(text_reply("one\n##two\n\nthree", "length"))

    with serve(once_settled(deaf)) as server:
        [answer] = ask(server.url, Request("p", 16, stop=("\n\n", "\n##")))
    assert (answer.text, answer.finish_reason) == ("one", "stop")


@pytest.mark.parametrize(
    ("said", "kept"),
    [("stop", "stop"), ("length", "length"), ("eos_token", "eos"), ("stop_sequence", "stop")],
)
def test_the_server_says_why_an_answer_ended(said: str, kept: str) -> None:
    with serve(once_settled(lambda call: call.send(text_reply("x", said)))) as server:
        [answer] = ask(server.url)
    assert answer.finish_reason == kept


def test_tokens_that_a_server_does_not_count_are_0() -> None:
    reply = text_reply("x")
    del reply["usage"]
    with serve(once_settled(lambda call: call.send(reply))) as server:
        [answer] = ask(server.url)
    assert (answer.prompt_tokens, answer.tokens) == (0, 0)


def test_a_server_with_openai_fields_alone_gets_no_others() -> None:
    def strict(call: Call) -> None:
        odd = call.content.keys() & {"repetition_penalty", "repeat_penalty", "top_k", "min_p"}
        if odd or len(call.content.get("stop", [])) > 4:
            call.send({"error": {"message": f"unrecognized: {odd}"}}, 400)
        else:
            honest(call)

    stops = tuple(f"\n{letter}" for letter in "abcdefghi")
    with serve(strict) as server:
        model = RemoteModel(server.url)
        [(_, answer)] = model.generate([Request("x", 16, stop=stops)])
        assert server.posted()[-1]["stop"] == list(stops[:4])
    assert answer.text == "x"
    assert "whatever repetition penalty the server applies" in model.facts.description


# Who it is


def test_the_only_model_is_taken_and_known_by_what_is_said_of_it() -> None:
    meta = {"n_params": 1000, "size": 562, "n_vocab": 7}

    def behave(call: Call) -> None:
        call.send(listing("tiny", meta=meta)) if call.method == "GET" else honest(call)

    with serve(behave) as server:
        first, again = RemoteModel(server.url), RemoteModel(server.url + "/")
        assert first.digest == again.digest, "the time in the list must not matter"
        assert first.path == server.url
        facts = first.facts
        assert (facts.name, facts.scheme, facts.parameters) == ("tiny", "unknown", 1000)
        assert facts.bits_per_weight == pytest.approx(4.496)
        meta["size"] = 563
        assert RemoteModel(server.url).digest != first.digest


@pytest.mark.parametrize(
    ("there", "named", "words"),
    [
        (("a", "b"), None, "one model has to be named; the server has a, b"),
        ((), None, "one model has to be named; the server has none"),
        (("a", "b"), "c", "no model 'c'; the server has a, b"),
    ],
    ids=["several", "none", "unknown"],
)
def test_a_model_has_to_be_named_and_there(
    there: tuple[str, ...], named: str | None, words: str
) -> None:
    with (
        serve(lambda call: call.send(listing(*there))) as server,
        pytest.raises(InputError, match=words),
    ):
        RemoteModel(server.url, model=named)


def test_one_of_several_is_asked_by_its_name() -> None:
    def behave(call: Call) -> None:
        if call.method == "GET":
            call.send(listing("a", "b"))
        else:
            call.send(text_reply("x", model=call.content["model"]))

    with serve(behave) as server:
        model = RemoteModel(server.url, model="b")
        list(model.generate([ASKED]))
        assert {c["model"] for c in server.posted()} == {"b"}


def test_a_server_without_a_list_needs_a_name() -> None:
    def behave(call: Call) -> None:
        call.send({}, 404) if call.method == "GET" else honest(call)

    with serve(behave) as server:
        with pytest.raises(InputError, match="no list of models"):
            RemoteModel(server.url)
        assert RemoteModel(server.url, model="tiny").facts.name == "tiny"


def test_a_dated_name_of_the_same_model_is_no_lie() -> None:
    def behave(call: Call) -> None:
        dated = text_reply("x", model="tiny-2024-08-06")
        call.send(dated) if call.method == "POST" else honest(call)

    with serve(behave) as server:
        assert ask(server.url)[0].text == "x"


def test_a_server_that_answers_as_another_model_is_refused() -> None:
    def liar(call: Call) -> None:
        honest(call) if call.method == "GET" else call.send(text_reply("x", model="tiny-fp16"))

    with serve(liar) as server, pytest.raises(ResourceError, match=r"'tiny-fp16', not from 'tiny'"):
        RemoteModel(server.url)


def test_a_model_that_is_swapped_in_between_is_noticed() -> None:
    def behave(call: Call) -> None:
        call.send(text_reply("x", model="tiny" if call.content["seed"] < 5 else "tiny-20240806"))

    requests = [Request("p", 16, seed=seed) for seed in range(8)]
    given = []
    with (
        serve(once_settled(behave)) as server,
        pytest.raises(ResourceError, match="does not serve what it says"),
    ):
        for number, _ in RemoteModel(server.url, access=Access(parallel=1)).generate(requests):
            given.append(number)
    assert given == [0, 1, 2, 3, 4]


def test_a_server_that_changes_its_list_is_noticed_at_the_end() -> None:
    size = [1]

    def behave(call: Call) -> None:
        call.send(listing("tiny", meta={"size": size[0]})) if call.method == "GET" else honest(call)

    with serve(behave) as server:
        model = RemoteModel(server.url)
        with model.open():
            pass
        with pytest.raises(ResourceError, match="answers may be of two models"), model.open():
            size[0] = 2


# The key


def test_the_key_is_sent_and_shown_nowhere(tmp_path: Path) -> None:
    def behave(call: Call) -> None:
        told = {"error": {"message": f"bad key: {call.headers['Authorization']}"}}
        call.send(told, 401)

    access = Access(key=SECRET)
    with serve(behave) as server:
        with pytest.raises(InputError, match=r"does not accept the key in \$LICHEN_API_KEY") as e:
            RemoteModel(server.url, access=access)
        assert server.calls[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in str(e.value) + repr(access)


def test_a_key_that_comes_back_in_an_answer_is_not_kept() -> None:
    def echo(call: Call) -> None:
        call.send(text_reply(call.headers["Authorization"]))

    with serve(once_settled(echo)) as server:
        with pytest.raises(ResourceError, match="sends the key") as error:
            ask(server.url, access=Access(key=SECRET))
        assert SECRET not in str(error.value)
        assert ask(server.url, access=Access(key="EMPTY"))[0].text == "Bearer EMPTY"


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_key_says_where_to_give_it(status: int) -> None:
    with serve(lambda call: call.send({}, status)) as server:
        with pytest.raises(InputError, match=r"wants a key; give it in \$LICHEN_API_KEY"):
            RemoteModel(server.url)
        assert "Authorization" not in server.calls[0].headers


def test_a_redirection_is_not_followed() -> None:
    with serve(honest) as other:
        target = {"Location": f"{other.url}/models"}
        with (
            serve(lambda call: call.send({}, 307, target)) as server,
            pytest.raises(InputError, match="a redirection to http"),
        ):
            RemoteModel(server.url, access=Access(key=SECRET))
        assert other.calls == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://user:{SECRET}@127.0.0.1:1/v1", "user name or a password"),
        (f"http://127.0.0.1:1/v1?key={SECRET}", r"behind \? or #"),
        ("http://127.0.0.1:99999/v1", "no usable host"),
        ("http:///v1", "no usable host"),
        ("http://a b/v1", "no usable host"),
    ],
    ids=["credentials", "query", "port", "host", "space"],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_secrets(
    url: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as error:
        RemoteModel(url)
    assert SECRET not in str(error.value)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, words in (
        ({"parallel": 0}, "parallel"),
        ({"timeout_seconds": 0}, "timeout"),
        ({"key": "a\nb"}, "LICHEN_API_KEY"),
        ({"key": "schlüssel"}, "LICHEN_API_KEY"),
    ):
        with pytest.raises(InputError, match=words):
            Access(**wrong)  # type: ignore[arg-type]


def test_one_key_does_not_go_to_two_servers(tmp_path: Path) -> None:
    with serve(honest) as a, serve(honest) as b:
        with pytest.raises(InputError, match="would go to two servers"):
            verify(a.url, b.url, out=tmp_path / "run", access=Access(key=SECRET))
        assert a.calls == b.calls == []
    assert same_server("https://h/v1", "https://h:443/v2")


def test_this_machine_is_not_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(honest) as server:
        assert ask(server.url)[0].text == "hello"
        assert ask(server.url.replace("127.0.0.1", "localhost"))[0].text == "hello"


# Trouble that passes


def failing(times: int, *, status: int = 500, headers: dict[str, str] | None = None) -> Behave:
    """Honest but for the first `times` answers."""
    left = iter(range(times))

    def behave(call: Call) -> None:
        if next(left, None) is None:
            honest(call)
        else:
            call.send({"error": "busy"}, status, headers)

    return once_settled(behave)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_a_failure_that_passes_is_not_seen(status: int) -> None:
    with serve(failing(2, status=status)) as server:
        assert ask(server.url)[0].text == "hello"
        assert len(server.posted()) == 3


def test_a_server_is_left_alone_as_long_as_it_asks() -> None:
    with serve(failing(1, status=429, headers={"Retry-After": "1"})) as server:
        started = time.monotonic()
        ask(server.url)
        assert time.monotonic() - started >= 1


@pytest.mark.parametrize("after", ["3600", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_nobody_waits_for_an_hour(after: str) -> None:
    with serve(failing(99, status=429, headers={"Retry-After": after})) as server:
        with pytest.raises(ResourceError, match="asks to be left alone for"):
            ask(server.url)
        assert len(server.posted()) == 1


def reset(call: Call) -> None:
    """Close with a reset instead of an end."""
    linger = struct.pack("ii", 1, 0)
    call.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    call.handler.rfile.close()
    call.handler.wfile.close()
    call.handler.connection.close()


def test_a_connection_that_is_reset_once_is_tried_again() -> None:
    left = iter([1])

    def behave(call: Call) -> None:
        honest(call) if next(left, None) is None else reset(call)

    with serve(once_settled(behave)) as server:
        assert ask(server.url)[0].text == "hello"


def test_only_the_first_question_of_all_has_to_be_answered_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(call: Call) -> None:
        time.sleep(0.5)
        honest(call)

    monkeypatch.setattr("lichen.remote.connection.FIRST_SECONDS", 0.3)
    with serve(lambda call: (slow if call.method == "POST" else honest)(call)) as server:
        assert ask(server.url)[0].text == "hello"
    with serve(slow) as server, pytest.raises(ResourceError, match=r"to /models in 0\.3 s"):
        RemoteModel(server.url)


# Bad servers: one clear error each, and nothing of theirs is taken for an answer


def hang(call: Call) -> None:
    call.hang()


def hang_in_the_body(call: Call) -> None:
    call.begin(200, {"Content-Length": "1000"})
    call.handler.wfile.write(b'{"choices": [')
    call.hang()


def drip(call: Call) -> None:
    call.begin(200, {"Content-Length": "1000"})
    while not call.closing.wait(0.1):
        call.handler.wfile.write(b" ")


def half_a_reply(call: Call) -> None:
    call.begin(200, {"Content-Length": "1000"})
    call.handler.wfile.write(json.dumps(text_reply("hello")).encode())
    call.handler.close_connection = True


def half_a_chunked_reply(call: Call) -> None:
    call.begin(200, {"Transfer-Encoding": "chunked"})
    call.handler.wfile.write(b"40\r\n" + b" " * 20)
    call.handler.close_connection = True


def half_a_document(call: Call) -> None:
    call.send(json.dumps(text_reply("hello")).encode()[:60])


def without(key: str) -> Behave:
    reply = text_reply("hello")
    (reply if key in reply else reply["choices"][0]).pop(key)
    return lambda call: call.send(reply)


def gigantic(call: Call) -> None:
    call.begin(200, {"Content-Length": str(1 << 34)})
    for _ in range(1 << 14):
        call.handler.wfile.write(b" " * (1 << 20))


def bomb(call: Call) -> None:
    call.send(gzip.compress(b" " * (1 << 26)), headers={"Content-Encoding": "gzip"})


def stream(call: Call) -> None:
    body = b'data: {"choices": [{"text": "hello"}]}\n\ndata: [DONE]\n\n'
    call.send(body, headers={"Content-Type": "text/event-stream"})


def refuse(call: Call) -> None:
    call.send({"error": {"message": "the prompt has 9999 tokens\x1b[31m, room is for 512"}}, 400)


def plain(reply: object, status: int = 200) -> Behave:
    return lambda call: call.send(reply, status)


BAD: dict[str, tuple[Behave, str, Access]] = {
    "hangs": (hang, "no whole reply to /completions in 0.3 s, 2 times", HASTY),
    "hangs mid-body": (hang_in_the_body, "no whole reply to /completions in 0.3 s", HASTY),
    "drips": (drip, "no whole reply to /completions in 0.3 s", HASTY),
    "half a reply": (half_a_reply, "the connection broke off .*, 4 times", QUICK),
    "half a chunked reply": (half_a_chunked_reply, "the connection broke off .*, 4 times", QUICK),
    "half a document": (half_a_document, "the reply is not whole JSON", QUICK),
    "resets": (reset, "the connection broke off .*, 4 times", QUICK),
    "not HTTP": (lambda c: c.handler.wfile.write(b"hi\r\n\r\n") and None, "broke off", QUICK),
    "not JSON": (plain(b"<html>hello</html>"), "the reply is not whole JSON", QUICK),
    "nothing": (plain(b""), "the reply is not whole JSON", QUICK),
    "not UTF-8": (plain(b'{"choices": [{"text": "\xff"}]}'), "the reply is not UTF-8", QUICK),
    "half a character": (
        plain(json.dumps(text_reply("\ud83d")).encode()), "the reply is not whole JSON", QUICK,
    ),
    "a list": (plain([1]), "the reply is not an answer", QUICK),
    "no choices": (without("choices"), "the reply is not an answer", QUICK),
    "empty choices": (plain({"choices": []}), "holds 0 answers", QUICK),
    "two answers": (
        plain({"choices": text_reply("a")["choices"] * 2}), "holds 2 answers", QUICK,
    ),
    "no text": (without("text"), "the answer has no text", QUICK),
    "text is a number": (plain({"choices": [{"text": 1}]}), "the reply is not an answer", QUICK),
    "no end": (without("finish_reason"), "does not say why it ended", QUICK),
    "filtered": (plain(text_reply("", "content_filter")), 'ended by "content_filter"', QUICK),
    "an error for an answer": (
        plain({"error": {"message": "out of cheese"}}), "not an answer: out of cheese", QUICK,
    ),
    "another model": (plain(text_reply("a", model="gpt")), "came from model 'gpt'", QUICK),
    "too many tokens": (plain(text_reply("a", tokens=99)), "99 tokens, but max_tokens", QUICK),
    "too long": (plain(text_reply("a" * 4000, tokens=0)), "4,000 characters, but", QUICK),
    "gigantic": (gigantic, r"longer than [\d,]+ bytes", QUICK),
    "gigantic when unpacked": (bomb, r"longer than [\d,]+ bytes", QUICK),
    "broken gzip": (
        lambda c: c.send(b"hello", headers={"Content-Encoding": "gzip"}), "/completions", QUICK,
    ),
    "streams": (stream, "it streams its answer, although it was not asked to", QUICK),
    "refuses": (refuse, r"HTTP 400 on /completions: the prompt has 9999 tokens \[31m", QUICK),
    "forbids": (plain({}, 403), "HTTP 403 on /completions", QUICK),
    "lost": (plain({}, 404), "HTTP 404 on /completions", QUICK),
    "always busy": (plain({"error": "slow down"}, 429), "HTTP 429: slow down, 8 times", QUICK),
    "always failing": (plain(b"oh no", 500), "HTTP 500: oh no, 4 times", QUICK),
    "status 204": (lambda call: call.begin(204, {}), "HTTP 204 on /completions", QUICK),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_one_clear_error_and_the_good_ones_are_kept(name: str) -> None:
    bad, words, access = BAD[name]

    def behave(call: Call) -> None:
        (bad if call.content["seed"] == 3 else honest)(call)

    requests = [Request(f"say {n}", 16, seed=n) for n in range(6)]
    one = Access(parallel=1, timeout_seconds=access.timeout_seconds, pause_seconds=0.01)
    given = []
    with serve(once_settled(behave)) as server:
        model = RemoteModel(server.url, access=one)
        with pytest.raises(LichenError, match=words) as error:
            for number, completion in model.generate(requests):
                given.append((number, completion.text))
    assert given == [(0, "0"), (1, "1"), (2, "2")]
    told = str(error.value)
    assert server.url in told
    assert told.isprintable()
    assert len(told) < 400


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (hang, "no whole reply to /models in 0.3 s"),
        (plain(b"hello"), "/models: the reply is not whole JSON"),
        (plain({"models": []}), "/models: the reply is not a list of models"),
        (plain({}, 404), r"no list of models \(HTTP 404"),
        (half_a_reply, "the connection broke off"),
        (gigantic, "the reply to /models is longer than"),
    ],
    ids=["hangs", "not JSON", "no list", "absent", "half", "gigantic"],
)
def test_a_server_that_fails_at_once_is_one_clear_error(behave: Behave, words: str) -> None:
    with serve(behave) as server, pytest.raises(LichenError, match=words):
        RemoteModel(server.url, access=HASTY)


def test_a_server_without_any_endpoint_is_told_from_one_without_completions() -> None:
    def lister(call: Call) -> None:
        honest(call) if call.method == "GET" else call.send({}, 404)

    with serve(lister) as server:
        for endpoint, words in (
            ("auto", "no /completions nor /chat/completions"),
            ("chat", "no /chat/completions"),
            ("completions", "no /completions"),
        ):
            with pytest.raises(InputError, match=f"{words}; the URL is one like"):
                RemoteModel(server.url, access=Access(endpoint=endpoint))  # type: ignore[arg-type]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_address_where_nobody_listens_is_told_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(ResourceError, match=r"nothing listens there \(connection refused\)"):
        RemoteModel(f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(ResourceError, match="its host name is unknown"):
        RemoteModel("http://no-such-host.localhost.invalid/v1")
    assert time.monotonic() - started < 15


def test_tls_where_there_is_none_is_told() -> None:
    with serve(honest) as server, pytest.raises(ResourceError, match="no TLS connection is"):
        RemoteModel(server.url.replace("http:", "https:"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_vouches_for_is_told(tmp_path: Path) -> None:
    names = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", *names]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    def wrap(listener: socket.socket) -> socket.socket:
        return context.wrap_socket(listener, server_side=True)

    with serve(honest, wrap=wrap) as server:
        with pytest.raises(ResourceError, match=r"no TLS connection.*self.signed certificate"):
            RemoteModel(server.url)
        assert server.calls == []


def test_it_works_inside_an_event_loop() -> None:
    async def notebook(url: str) -> str:
        return ask(url)[0].text

    with serve(honest) as server:
        assert asyncio.run(notebook(server.url)) == "hello"
    assert not [t for t in threading.enumerate() if t.name == "lichen-remote"]


# Whole runs, against a server around a real model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that has room for the tasks, and six tasks."""
    folder = tmp_path_factory.mktemp("remote")
    config = write_tiny_model(folder / "model") / "config.json"
    config.write_text(config.read_text().replace('embeddings": 1024', 'embeddings": 4096'))
    write_tasks(folder / "tasks.jsonl", 6)
    return folder


@pytest.fixture(scope="module")
def model(place: Path) -> Iterator[LanguageModel]:
    loaded = load(place / "model", threads=1)
    yield loaded
    loaded.close()


@pytest.fixture
def wrapped(model: LanguageModel) -> Iterator[Running]:
    with serve(fake_server.wrapping(model.generate)) as server:
        yield server


def arguments(place: Path, *models: str, out: Path) -> list[str]:
    tasks = ["--tasks", str(place / "tasks.jsonl"), "--max-tokens", "8", "--robustness", "2"]
    return ["verify", *models, *tasks, "--threads", "1", "--out", str(out)]


def read(folder: Path) -> Record:
    return msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)


def texts(folder: Path, role: str) -> list[str]:
    lines = map(json.loads, (folder / "completions.jsonl").read_bytes().splitlines())
    return [line["text"] for line in lines if line["role"] == role]


def test_a_model_against_itself_behind_a_url_gives_the_same_texts(
    place: Path, wrapped: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local, out = str(place / "model"), tmp_path / "run"
    assert run(arguments(place, local, "--candidate", wrapped.url, out=out)) == 3
    assert "not measured: a model is behind a URL" in capsys.readouterr().err
    record = read(out)
    assert record.settings["style"] == "chat"
    assert texts(out, "candidate") == texts(out, "reference")
    assert any(texts(out, "candidate"))
    assert record.correctness[0].lost == record.correctness[0].gained == []
    assert (record.candidate.path, record.candidate.name) == (wrapped.url, "tiny")
    assert record.candidate.parameters is record.candidate.bits_per_weight is None
    assert record.divergence is record.resources is None
    report = render_markdown(record)
    assert "was taken: nothing but answers comes from behind a URL" in report
    assert "What the candidate is made of" in report
    page = (out / "report.html").read_text()
    assert "bits each in the original, unknown in the new model" in page
    asked = len(wrapped.posted())
    assert run(arguments(place, local, wrapped.url, out=out)) == 3
    assert len(wrapped.posted()) == asked, "a second run asks nothing"


@pytest.mark.parametrize(
    ("count", "wrong", "decision"),
    [(100, (), "accept"), (40, range(12), "reject")],
    ids=["same", "broken"],
)
def test_servers_are_accepted_and_rejected_like_models_on_disk(
    count: int, wrong: Sequence[int], decision: str, tmp_path: Path
) -> None:
    tasks = write_tasks(tmp_path / "t.jsonl", count)
    good, changed = FakeModel("a"), FakeModel("b", wrong=frozenset(wrong))
    with (
        serve(once_settled(fake_server.wrapping(good.generate))) as a,
        serve(once_settled(fake_server.wrapping(changed.generate))) as b,
    ):
        record = verify(
            a.url,
            b.url,
            out=tmp_path / "run",
            settings=Settings(tasks=(str(tasks),), robustness_tasks=0),
        )
    assert record.verdict.decision == decision
    assert len(record.correctness[0].lost) == len(wrong)
    assert record.correctness[0].gained == []


def test_both_models_may_be_behind_urls(place: Path, wrapped: Running, tmp_path: Path) -> None:
    assert run(arguments(place, wrapped.url, wrapped.url, out=tmp_path / "run")) == 3
    record = read(tmp_path / "run")
    assert record.settings["style"] == "completion"
    assert texts(tmp_path / "run", "candidate") == texts(tmp_path / "run", "reference")


def test_a_server_that_takes_messages_alone_is_held_against_a_model_asked_alike(
    place: Path, model: LanguageModel, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with serve(fake_server.wrapping(model.generate, model.tokenizer.chat)) as server:
        assert run(arguments(place, str(place / "model"), server.url, out=out)) == 3
        sent = server.posted("chat/completions")
    record = read(out)
    assert record.settings["style"] == "chat-open"
    assert texts(out, "candidate") == texts(out, "reference")
    assert all([m["role"] for m in content["messages"]] == ["user"] for content in sent)
    assert all("Python script" in content["messages"][0]["content"] for content in sent)


def test_a_style_that_begins_the_answer_is_refused_where_only_messages_are_taken(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(fake_server.by_messages) as server:
        given = arguments(place, str(place / "model"), server.url, out=tmp_path / "run")
        assert run([*given, "--style", "chat"]) == 2
    assert "takes messages alone" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "answer",
    [
        "```python\n{whole}```\nIt adds.\n",
        "Sure, here it is:\n\n```python\n{whole}```\n\n```python\nprint(add_0(1))\n```\n",
        "Solution\n```\n{whole}```\n",
        "{whole}",
    ],
    ids=["fenced", "prose", "bare fence", "no fence"],
)
def test_a_whole_function_is_read_from_an_open_answer(tmp_path: Path, answer: str) -> None:
    [task] = load_tasks(str(write_tasks(tmp_path / "t.jsonl", 1))).tasks
    prompt = render(task, "chat-open", lambda messages: messages[0]["content"])
    assert prompt.stop == ()
    whole = task.prompt + "    return value\n"
    found = program(task, prompt, answer.format(whole=whole))
    names: dict[str, Callable[[int], int]] = {}
    exec(found, names)
    assert names["add_0"](7) == 7
    assert "print(" not in found


def test_the_key_of_the_environment_reaches_the_server_and_no_file(
    place: Path,
    wrapped: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LICHEN_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    assert run(arguments(place, str(place / "model"), wrapped.url, out=tmp_path / "run")) == 3
    assert {c.headers["Authorization"] for c in wrapped.calls} == {f"Bearer {SECRET}"}
    told = capsys.readouterr()
    files = [p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert len(files) > 3
    assert SECRET.encode() not in b"".join(files) + (told.out + told.err).encode()


def test_a_run_that_a_server_broke_goes_on_where_it_stopped(
    place: Path, model: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, out = fake_server.wrapping(model.generate), tmp_path / "run"
    answers = iter(range(8))
    broken = [True]

    def behave(call: Call) -> None:
        asks = call.method == "POST" and call.content["max_tokens"] > 1
        if broken[0] and asks and next(answers, None) is None:
            call.send(b'{"choices": [{"te')
        else:
            good(call)

    with serve(behave) as server:
        given = [*arguments(place, str(place / "model"), server.url, out=out), "--parallel", "1"]
        assert run(given) == 4
        [told] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert "the reply is not whole JSON" in told
        assert not (out / "record.json").exists()
        broken[0] = False
        assert run(given) == 3
        prompts = [content["prompt"] for content in server.posted()]
    assert max(Counter(prompts).values()) == 2, "only the broken answer is asked for again"
    assert list(Counter(prompts).values()).count(2) == 1
    assert texts(out, "candidate") == texts(out, "reference")


CHILD = "import sys; from lichen.cli.main import run; sys.exit(run(sys.argv[1:]))"


def test_ctrl_c_ends_a_run_whose_server_hangs(place: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with serve(once_settled(hang)) as server:
        given = arguments(place, str(place / "model"), server.url, out=tmp_path / "run")
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *given], env=environment, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while not server.posted() and time.monotonic() < deadline:
            time.sleep(0.05)
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=30)
        assert time.monotonic() - started < 5
    assert child.returncode == 130
    assert b"interrupted" in told


def test_a_model_has_to_be_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["a"], ["a", "b", "--candidate", "c"]):
        assert run(["verify", *given, "--out", "run"]) == 2
        assert "give one CANDIDATE" in capsys.readouterr().err


def test_names_are_for_models_behind_urls(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(place, str(place / "model"), str(place / "model"), out=tmp_path / "run")
    assert run([*given, "--candidate-model", "x"]) == 2
    assert "is no URL" in capsys.readouterr().err
    assert run(["generate", "http://127.0.0.1:1/v1", "--prompt", "x"]) == 2
    assert "only `lichen verify` takes a model behind a URL" in capsys.readouterr().err
