"""A server on this computer that behaves as badly as is asked of it, and a small network that it may send."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_helpers import assert_sentence
from monai.networks.nets import UNet

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.fetching import catalogue, store
from SegAdversarialLib.formats.fetching.catalogue import Entry
from SegAdversarialLib.formats.fetching.getting import get
from SegAdversarialLib.formats.fetching.transfer import Patience

NAME = "toy_segmentation"
HALF = 20_000
HASTY = Patience(silence=0.5, tries=2, pause=0.0)
"""For servers that are meant to fail."""

_ARGUMENTS = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "channels": [4, 8], "strides": [2]}


def bundle(seed: int = 0, extra: int = 0) -> bytes:
    """A MONAI bundle with a network of random weights, in the form of the model zoo's archives.

    Args:
        seed: of the weights.
        extra: bytes of a file in it that nobody reads.
    """
    torch.manual_seed(seed)
    weights = io.BytesIO()
    torch.save(UNet(**_ARGUMENTS).state_dict(), weights)
    sent = {"channel_def": {"0": "A", "1": "B"}}
    named = {"channel_def": {"0": "background", "1": "core", "2": "rim"}}
    config = {
        "network_def": {"_target_": "UNet", **_ARGUMENTS},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
    }
    metadata = {"version": "1.0.0", "network_data_format": {"inputs": {"image": sent}, "outputs": {"pred": named}}}
    files = {
        "configs/inference.json": json.dumps(config).encode(),
        "configs/metadata.json": json.dumps(metadata).encode(),
        "models/model.pt": weights.getvalue(),
        "docs/noise.bin": torch.randint(0, 256, (extra,), dtype=torch.uint8).numpy().tobytes(),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in files.items():
            opened.writestr(f"{NAME}/{name}", content)
    return archive.getvalue()


@pytest.fixture(scope="module", name="content")
def content_fixture() -> bytes:
    """The archive that servers send."""
    return bundle(extra=60_000)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    """Where downloads go."""
    return tmp_path / "networks"


@pytest.fixture(autouse=True)
def catalogued(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue knows the archive, in the files of tests that import this."""
    monkeypatch.setitem(catalogue._BY_NAME, NAME, entry_of(content))


def entry_of(content: bytes, address: str = "http://127.0.0.1:9/nobody.zip", **more: Any) -> Entry:
    """What a catalogue says of a network with this archive."""
    said: dict[str, Any] = {
        "name": NAME,
        "version": "1.0.0",
        "task": "Toys",
        "network": "UNet",
        "channels": ("A", "B"),
        "classes": ("background", "core", "rim"),
        "megabytes": 1,
        "licence": "Apache-2.0",
        "data": "nobody's data",
        "sha1": hashlib.sha1(content).hexdigest(),
        "address": address,
    }
    return Entry(**said | more)


@dataclass
class Server:
    """What is asked of the server, and how it answers.

    Attributes:
        answers: the ways in which requests are answered, one after the other; the last one stays.
        asked: the headers of each request.
        url: where its file lies.
        go: set when a request that waits for it may go on.
    """

    answers: list[Callable[[Server, BaseHTTPRequestHandler], None]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""
    go: threading.Event = field(default_factory=threading.Event)

    @property
    def ranges(self) -> list[str]:
        """From where each request wanted to go on."""
        return [x.get("Range", "") for x in self.asked]


Answer = Callable[[Server, BaseHTTPRequestHandler], None]


@contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    """A server for the time of a test."""
    told = Server(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told.asked.append({key.title(): x for key, x in self.headers.items()})
            told.paths.append(self.path)
            self.close_connection = True
            answer = told.answers[0] if len(told.answers) == 1 else told.answers.pop(0)
            answer(told, self)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Who asks may end the connection."""

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}/files/{NAME}_v1.0.0.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def begin(request: BaseHTTPRequestHandler, code: int, headers: dict[str, str]) -> None:
    """The head of an answer."""
    request.send_response(code)
    for name, value in headers.items():
        if value:
            request.send_header(name, value)
    request.end_headers()


def sends(
    content: bytes,
    *,
    upto: int | None = None,
    says: int | str | None = "true",
    etag: str = "",
    modified: str = "",
    ranges: bool = True,
    stalls: bool = False,
    trickles: bool = False,
    shift: int = 0,
) -> Answer:
    """Answers with a file.

    Args:
        content: the file.
        upto: its byte before which the connection ends; None: at the end.
        says: the length that it tells; "true": what is right; None: none.
        etag, modified: the marks that it gives.
        ranges: whether it goes on where it is asked to.
        stalls: whether it falls silent before it ends the connection.
        trickles: whether it goes on from there byte by byte.
        shift: by how much the place from which it goes on differs from what was asked for.
    """

    def answer(told: Server, request: BaseHTTPRequestHandler) -> None:
        asked = told.asked[-1]
        start = int(asked["Range"].removeprefix("bytes=").rstrip("-")) if ranges and "Range" in asked else 0
        start = start if asked.get("If-Range", etag) in (etag, modified) else 0
        if start >= len(content):
            begin(request, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        start += shift if start else 0
        headers = {"Content-Type": "application/zip", "ETag": etag, "Last-Modified": modified}
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}" if start else ""
        if says is not None:
            headers["Content-Length"] = str(len(content) - start if says == "true" else says)
        begin(request, 206 if start else 200, headers)
        request.wfile.write(content[start:upto])
        request.wfile.flush()
        drops = itertools.count(upto or 0)
        while trickles and not told.go.wait(0.02):
            n = next(drops)
            request.wfile.write(content[n : n + 1])
        if stalls:
            told.go.wait(20)

    return answer


def says(code: int, text: str = "", **headers: str) -> Answer:
    """Answers with a code, and a page of text."""

    def answer(told: Server, request: BaseHTTPRequestHandler) -> None:
        body = text.encode()
        begin(request, code, {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers})
        request.wfile.write(body)

    return answer


def fetched(server: Server, content: bytes, folder: Path, **more: Any) -> store.Stored:
    return get(entry_of(content, server.url), folder, patience=HASTY, **more)


def refused(server: Server, content: bytes, folder: Path) -> str:
    """The sentence with which a download ends; there is no file of its name afterwards."""
    with pytest.raises(InputError) as caught:
        fetched(server, content, folder)
    assert_sentence(str(caught.value))
    assert not (folder / f"{NAME}_v1.0.0.zip").exists() and not store.place_of(entry_of(content), folder).exists()
    return str(caught.value)


def assert_there(found: store.Stored, content: bytes, folder: Path) -> None:
    """The file is there under its name, its sum beside it, and nothing else that anybody would see."""
    assert found.path.read_bytes() == content and found.sha256 == hashlib.sha256(content).hexdigest()
    assert (folder / f"{NAME}_v1.0.0.zip.sha256").read_text() == f"{found.sha256}  {NAME}_v1.0.0.zip\n"
    visible = {x.name for x in folder.iterdir() if not x.name.startswith(".")}
    assert visible == {f"{NAME}_v1.0.0.zip", f"{NAME}_v1.0.0.zip.sha256"}
