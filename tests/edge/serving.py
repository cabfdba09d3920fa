"""A run or a folder that is served, for tests of the page."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

import edge
from edge.model import Model
from edge.runner import Run
from edge.server.address import Address
from edge.server.folder import Folder
from edge.server.folder_app import folder_app
from edge.server.live import LiveSink
from edge.server.live_app import live_app
from edge.server.server import Server
from tests.edge.paced import PacedSource


@dataclass
class Answer:
    """Of a server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server, and the run that it shows."""

    server: Server
    run: Run | None = None

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, path: str, values: object, **headers: str) -> Answer:
        """As the page does it."""
        origin = {"Origin": self.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
        return self.send("POST", path, json.dumps(values).encode(), **origin | headers)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Names of headers are given with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, body or None, given)
        answer = connection.getresponse()
        found = Answer(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()
        return found


@contextlib.contextmanager
def serve_run(
    model: Model,
    images: Sequence[NDArray[np.uint8]],
    every_s: float = 0.1,
    *,
    names: Sequence[str] = ("",),
    **limits: Any,
) -> Iterator[Served]:
    """A run on a paced source that goes on for the block, or until it is stopped."""
    server, sink = Server(Address("127.0.0.1", 0)), LiveSink(0.05)
    run = edge.run(PacedSource(images, every_s, names), model, sinks=[sink], **limits)
    thread = threading.Thread(target=lambda: list(run))
    with server.serve(live_app(sink)):
        thread.start()
        try:
            yield Served(server, run)
        finally:
            run.stop()
            thread.join(30)


@contextlib.contextmanager
def serve_folder(path: Path) -> Iterator[Served]:
    """A folder of results."""
    server = Server(Address("127.0.0.1", 0))
    with server.serve(folder_app(Folder(path))):
        yield Served(server)
