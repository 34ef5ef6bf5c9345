"""Local HTTP servers in a thread: an honest OpenAI-compatible one, and every way to be another.

A server is made of one function that takes each request; what it does with the socket is its own
affair, so that it can also break off, hang or lie.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lichen.completion import Completion, Request

Content = dict[str, Any]


@dataclass
class Call:
    """One request as it came in, and the means to answer it."""

    method: str
    path: str
    headers: dict[str, str]
    content: Content
    handler: BaseHTTPRequestHandler = field(repr=False)
    closing: threading.Event = field(repr=False)

    def send(
        self, content: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """A whole reply; bytes go out as they are, anything else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.begin(status, {"Content-Length": str(len(body))} | (headers or {}))
        self.handler.wfile.write(body)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Status and headers alone."""
        self.handler.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.handler.send_header(name, value)
        self.handler.end_headers()

    def hang(self) -> None:
        """Nothing, until the server is closed."""
        self.closing.wait(60)


Behave = Callable[[Call], None]


@dataclass
class Running:
    """A server that runs: its address, and what it was asked."""

    url: str
    calls: list[Call]

    def posted(self, path: str = "completions") -> list[Content]:
        """What was posted to an endpoint, without the probes of one token."""
        found = [c.content for c in self.calls if c.method == "POST" and c.path.endswith(path)]
        return [content for content in found if content["max_tokens"] > 1]


@contextmanager
def serve(behave: Behave, *, wrap: Callable[[Any], Any] | None = None) -> Iterator[Running]:
    """A server on a free port of this machine; `wrap` changes its socket (TLS)."""
    calls: list[Call] = []
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes; the second would wait

        def do_GET(self) -> None:
            self._take({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._take(json.loads(self.rfile.read(length)))

        def _take(self, content: Content) -> None:
            call = Call(self.command, self.path, dict(self.headers), content, self, closing)
            calls.append(call)
            try:
                behave(call)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that goes away is part of every test here

    server = Server(("127.0.0.1", 0), Handler)
    if wrap is not None:
        server.socket = wrap(server.socket)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    scheme = "http" if wrap is None else "https"
    try:
        yield Running(f"{scheme}://127.0.0.1:{server.server_address[1]}/v1", calls)
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def listing(*names: str, **facts: object) -> Content:
    """The reply to GET /models; its time is never the same, as with real servers."""
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": time.time_ns(), **facts} for name in names
        ],
    }


def text_reply(text: str, finish: str = "stop", model: str = "tiny", tokens: int = 1) -> Content:
    """The reply of /completions."""
    return {
        "id": "1",
        "object": "text_completion",
        "model": model,
        "choices": [{"index": 0, "text": text, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": tokens},
    }


def chat_reply(text: str, finish: str = "stop", model: str = "tiny") -> Content:
    """The reply of /chat/completions."""
    message = {"role": "assistant", "content": text}
    return {
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }


def honest(call: Call) -> None:
    """A server of one model, "tiny", that says the prompt's last word again."""
    if call.path == "/v1/models":
        call.send(listing("tiny"))
    elif call.path == "/v1/completions":
        call.send(text_reply(call.content["prompt"].split()[-1]))
    else:
        call.send({"error": {"message": "no such path"}}, 404)


def by_messages(call: Call) -> None:
    """A server without /completions."""
    if call.path == "/v1/models":
        call.send(listing("tiny"))
    elif call.path == "/v1/chat/completions":
        call.send(chat_reply(call.content["messages"][-1]["content"].split()[-1]))
    else:
        call.send({"error": "no such path"}, 404)


def once_settled(misbehave: Behave, good: Behave = honest) -> Behave:
    """Honest to GET and to the probe; then every question is answered by `misbehave`."""

    def behave(call: Call) -> None:
        asks = call.method == "POST" and call.content.get("max_tokens", 1) > 1
        (misbehave if asks else good)(call)

    return behave


def wrapping(
    generate: Callable[[Sequence[Request]], Iterator[tuple[int, Completion]]],
    template: Callable[[list[dict[str, str]]], str] | None = None,
) -> Behave:
    """A server around a model of this process; by messages where a `template` is given."""
    turn = threading.Lock()

    def ask(prompt: str, content: Content) -> Completion:
        request = Request(
            prompt,
            content["max_tokens"],
            content["temperature"],
            content["top_p"],
            content["seed"],
            tuple(content.get("stop", ())),
        )
        with turn:
            [(_, completion)] = generate([request])
        return completion

    def behave(call: Call) -> None:
        if call.path == "/v1/models":
            call.send(listing("tiny"))
        elif call.path == "/v1/completions" and template is None:
            done = ask(call.content["prompt"], call.content)
            call.send(text_reply(done.text, _finish(done), tokens=done.tokens))
        elif call.path == "/v1/chat/completions" and template is not None:
            done = ask(template(call.content["messages"]), call.content)
            call.send(chat_reply(done.text, _finish(done)))
        else:
            call.send({"error": {"message": "no such path"}}, 404)

    return behave


def _finish(completion: Completion) -> str:
    return "length" if completion.finish_reason == "length" else "stop"
