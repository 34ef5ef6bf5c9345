"""The hub, played by a local server that speaks its interface; and its cache, without any."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants
from tests.interrupt import seconds_to_end
from tests.tiny import write_tiny_model

from lichen.checkpoint import hub, open_checkpoint, registry
from lichen.checkpoint.hub import HubUnreachableError
from lichen.errors import InputError, ResourceError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "org/tiny"


class Hub:
    """The state of the played hub: models as folders, what was asked, and how it misbehaves."""

    def __init__(self) -> None:
        self.models: dict[str, Path] = {}
        self.asked: list[str] = []
        self.gated = False
        self.cut_after: int | None = None
        self.pause_seconds = 0.0

    def files(self, model: str) -> dict[str, bytes]:
        folder = self.models[model]
        found = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


class Handler(BaseHTTPRequestHandler):
    """Model info, file tree, and HEAD and GET of files with the headers that clients read."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in self.hub.models:
            self.describe("/".join(parts[2:4]), parts[4:])
        elif parts[2:3] == ["resolve"] and "/".join(parts[:2]) in self.hub.models:
            self.file("/".join(parts[:2]), "/".join(parts[4:]), with_body=with_body)
        else:
            self.refuse(404, "RepoNotFound")

    def describe(self, model: str, rest: list[str]) -> None:
        if self.hub.gated:
            return self.refuse(403, "GatedRepo")
        files = self.hub.files(model)
        if rest[:1] == ["tree"]:
            return self.json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": blob_id(data)}
                    for name, data in files.items()
                ]
            )
        siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
        return self.json(
            {
                "id": model,
                "modelId": model,
                "sha": COMMIT,
                "private": False,
                "disabled": False,
                "gated": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": siblings,
            }
        )

    def file(self, model: str, name: str, *, with_body: bool) -> None:
        data = self.hub.files(model).get(name)
        if data is None:
            return self.refuse(404, "EntryNotFound")
        start = 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{blob_id(data)}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if with_body:
            time.sleep(self.hub.pause_seconds)
            self.wfile.write(data[start:][: self.hub.cut_after])
            self.close_connection = self.hub.cut_after is not None
        return None

    def json(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def blob_id(data: bytes) -> str:
    """git's identity of a file's content, which the hub uses as etag."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()  # noqa: S324


@contextmanager
def serving(played: Hub) -> Iterator[str]:
    """The address at which the hub answers."""
    handler = type("PlayedHub", (Handler,), {"hub": played})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of this test's own, and no hub to be reached."""
    folder = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use(monkeypatch, "http://127.0.0.1:9")
    return folder


@pytest.fixture
def played(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without models, that the library takes for the real one."""
    hub = Hub()
    with serving(hub) as address:
        use(monkeypatch, address)
        yield hub


def use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """What HF_ENDPOINT does when the library is imported."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.parametrize("shards", [1, 2], ids=["single", "sharded"])
def test_a_model_is_fetched_and_opens(played: Hub, tmp_path: Path, shards: int) -> None:
    source = write_tiny_model(tmp_path / "source", shards=shards)
    (source / "quantize_config.json").write_text("{}")  # says how GPTQ weights are to be read
    (source / "README.md").write_text("not needed")
    (source / "pytorch_model.bin").write_bytes(b"not wanted")
    (source / "original").mkdir()
    (source / "original" / "model.safetensors").write_bytes(b"not wanted")
    played.models[MODEL] = source
    steps: list[tuple[int, int]] = []
    folder = hub.fetch(MODEL, progress=lambda *step: steps.append(step))
    wanted = {p.name for p in source.iterdir()} - {"README.md", "pytorch_model.bin", "original"}
    assert {p.name for p in folder.iterdir()} == wanted
    assert open_checkpoint(folder).digest() == open_checkpoint(source).digest()
    assert steps[-1][0] == steps[-1][1] == sum((source / name).stat().st_size for name in wanted)
    assert steps == sorted(steps)
    assert "tiny, float32" in open_checkpoint(folder).description


def test_what_was_fetched_is_found_without_a_hub(
    played: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.models[MODEL] = write_tiny_model(tmp_path / "source")
    assert hub.cached(MODEL) is None
    with pytest.raises(InputError, match=f"lichen models fetch {MODEL}"):
        registry.resolve(MODEL, cache=tmp_path)
    folder = registry.fetch(MODEL, cache=tmp_path)
    use(monkeypatch, "http://127.0.0.1:9")
    asked = len(played.asked)
    assert registry.resolve(MODEL, cache=tmp_path) == folder
    assert registry.fetch(MODEL, cache=tmp_path) == folder
    assert len(played.asked) == asked


def test_an_incomplete_snapshot_is_not_a_model(played: Hub, tmp_path: Path) -> None:
    played.models[MODEL] = write_tiny_model(tmp_path / "source", shards=2)
    folder = hub.fetch(MODEL)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert hub.cached(MODEL) is None
    assert hub.fetch(MODEL) == folder
    assert hub.cached(MODEL) == folder


def test_a_download_that_breaks_off_goes_on_next_time(
    played: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.models[MODEL] = write_tiny_model(tmp_path / "source", layers=8)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    played.cut_after = 30_000
    with pytest.raises(ResourceError, match="broke off"):
        hub.fetch(MODEL)
    assert hub.cached(MODEL) is None
    played.cut_after = None
    assert open_checkpoint(hub.fetch(MODEL)).names()


@pytest.mark.parametrize("shards", [1, 2])
def test_a_download_stopped_after_any_file_is_not_a_model(
    shards: int, played: Hub, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.models[MODEL] = write_tiny_model(tmp_path / "source", shards=shards)
    download, left = huggingface_hub.hf_hub_download, 0

    def stopping(hub_id: str, name: str) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return download(hub_id, name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", stopping)
    for files in range(len(played.files(MODEL))):
        left = files
        with pytest.raises(KeyboardInterrupt):
            hub.fetch(MODEL)
        assert hub.cached(MODEL) is None, f"{files} files are there"
    left = 99
    assert open_checkpoint(hub.fetch(MODEL)).names()


def test_shards_without_their_index_are_no_model(played: Hub, tmp_path: Path) -> None:
    """As another tool leaves them, which takes the config first."""
    played.models[MODEL] = write_tiny_model(tmp_path / "source", shards=2)
    folder = hub.fetch(MODEL)
    (folder / "model.safetensors.index.json").unlink()
    assert hub.cached(MODEL) is None


def test_ctrl_c_does_not_wait_for_a_slow_hub(tmp_path: Path) -> None:
    played = Hub()
    played.models[MODEL] = write_tiny_model(tmp_path / "source")
    played.pause_seconds = 3.0
    program = (
        "import sys; from lichen.checkpoint import hub; hub.fetch(sys.argv[1], progress=print)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    with serving(played) as address:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program, MODEL],
            env=environment | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        seconds = seconds_to_end(process)
    assert process.returncode != 0
    assert seconds < 2


def test_no_hub(cache: Path) -> None:
    with pytest.raises(HubUnreachableError, match="no hub could be reached"):
        hub.fetch(MODEL)
    with pytest.raises(ResourceError, match="no hub could be reached"):
        registry.fetch(MODEL, cache=cache)


def test_a_hub_that_never_answers(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "REACH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(HubUnreachableError, match=r"reached|answered"):
            hub.fetch(MODEL)
        assert time.monotonic() - start < 2


def test_a_model_that_the_hub_does_not_have(played: Hub) -> None:
    with pytest.raises(InputError, match="no such model"):
        hub.fetch("org/nothing")


def test_a_gated_model(played: Hub, tmp_path: Path) -> None:
    played.models[MODEL] = write_tiny_model(tmp_path / "source")
    played.gated = True
    with pytest.raises(InputError, match="consent"):
        hub.fetch(MODEL)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_repository_that_is_no_model_for_lichen(
    played: Hub, tmp_path: Path, missing: str
) -> None:
    played.models[MODEL] = write_tiny_model(tmp_path / "source")
    (played.models[MODEL] / missing).unlink()
    with pytest.raises(InputError, match="safetensors weights"):
        hub.fetch(MODEL)


def test_a_full_disk_is_said_before_the_download(
    played: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.models[MODEL] = write_tiny_model(tmp_path / "source")
    usage = namedtuple("usage", "total used free")(10, 10, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match="are free"):
        hub.fetch(MODEL)
    assert not any("/resolve/" in line for line in played.asked)


def test_a_known_model_comes_from_the_hub_first(played: Hub, cache: Path, tmp_path: Path) -> None:
    name, source = "smollm2-135m", write_tiny_model(tmp_path / "source", "llama")
    played.models["HuggingFaceTB/SmolLM2-135M-Instruct"] = source
    said: list[str] = []
    folder = registry.fetch(name, cache=cache, notice=said.append)
    assert registry.resolve(name, cache=cache) == folder
    assert open_checkpoint(folder).description == "SmolLM2-135M-Instruct, float32 safetensors"
    assert said == ["HuggingFaceTB/SmolLM2-135M-Instruct came from the hub."]


def test_through_the_environment_in_a_process_of_its_own(tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_HOME as users set them; nothing is printed."""
    played = Hub()
    played.models[MODEL] = write_tiny_model(tmp_path / "source")
    program = (
        "import sys; from pathlib import Path; from lichen.checkpoint import registry\n"
        "path = registry.fetch(sys.argv[1], cache=Path(sys.argv[2]))\n"
        "assert path == registry.resolve(sys.argv[1], cache=Path(sys.argv[2]))\n"
        "print(path)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    with serving(played) as address:
        done = subprocess.run(
            [sys.executable, "-c", program, MODEL, tmp_path],
            env=environment | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home") in Path(done.stdout.strip()).parents
    assert "it/s" not in done.stderr
    assert "Fetching" not in done.stderr
