"""Viewers of the page of a run: those that look, and those that stop reading."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import threading
import time
from dataclasses import dataclass, field

HEALTHY, STALLED = 15, 5
# As the page does it.
RETRY_S, TIMEOUT_S = 1.0, 8.0
# Requests sent one after the other by who reads no answer, and its receive buffer, bytes.
REQUESTS, BUFFER = 50, 4096


@dataclass
class Looked:
    """What a viewer saw.

    Attributes:
        pictures: Unix times of its pictures, each of another frame than the one before.
        refused: answers "too many viewers".
        errors: requests that failed otherwise.
    """

    pictures: list[float] = field(default_factory=list)
    refused: int = 0
    errors: int = 0


class Viewers:
    """`HEALTHY` viewers that ask as the page does, and `STALLED` that stall: most ask for more than
    fits into their buffers and read none of it, the others send half a request. They do so again
    when the server drops them.

    Attributes:
        looked: of each healthy viewer.
        dropped: stalled connections that the server ended.
    """

    def __init__(self, port: int) -> None:
        self._port, self._stop = port, threading.Event()
        self.looked = [Looked() for _ in range(HEALTHY)]
        self.dropped = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """They come."""
        self._stop.clear()
        self._threads = [
            *(threading.Thread(target=self._look, args=(i,)) for i in range(HEALTHY)),
            *(threading.Thread(target=self._stall, args=(i,)) for i in range(STALLED)),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """They leave."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _look(self, index: int) -> None:
        seen, last, after = self.looked[index], None, ""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        while not self._stop.is_set():
            try:
                status, body = _get(connection, f"/api/state?viewer=healthy{index}{after}")
                if status == 503:
                    seen.refused += 1
                    self._stop.wait(RETRY_S)
                    continue
                state = json.loads(body)
                after = f"&after={state['changes']}"
                if state["shown"] and state["shown"]["number"] != last:
                    last = state["shown"]["number"]
                    status, body = _get(connection, f"/frame.jpg?viewer=healthy{index}")
                    if status == 200 and body.startswith(b"\xff\xd8"):
                        seen.pictures.append(time.time())
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                seen.errors += 1
                self._stop.wait(RETRY_S)
        connection.close()

    def _stall(self, index: int) -> None:
        half = index % 2
        request = b"GET /records.jsonl HTTP/1.1\r\nHost: localhost\r\n" + b"\r\n" * (not half)
        while not self._stop.is_set():
            with contextlib.suppress(OSError), socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                client.connect(("127.0.0.1", self._port))
                client.setblocking(False)
                client.send(request * (1 if half else REQUESTS))
                ended = select.poll()
                ended.register(client, select.POLLRDHUP)
                while not self._stop.is_set():
                    if ended.poll(200):
                        self.dropped += 1
                        break
            self._stop.wait(RETRY_S / 4)


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()
