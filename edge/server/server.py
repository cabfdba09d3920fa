"""The web server, in a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.errors import BadArgumentError, EdgeError
from edge.server.address import Address
from edge.server.auth import VARIABLE, Token
from edge.server.guard import Guard
from edge.terminal import Terminal

MAX_CONNECTIONS = 128
MAX_HEADER_BYTES = 16384
# A client that for so long neither finishes its request nor takes a byte of the answer is dropped.
CLIENT_TIMEOUT_S = 10.0
# How long the end of the program waits for answers under way.
CLOSE_TIMEOUT_S = 2


class Server:
    """A port of this machine that a page is served on.

    Attributes:
        token: what viewers must know; None on the loopback address, unless the user set one.
        url: of the page.

    Raises:
        BadArgumentError: there is no such address, or the token of the environment is not usable.
        EdgeError: the port is taken, or not allowed.
    """

    def __init__(self, address: Address) -> None:
        self._host = address.host
        self._socket = _listen(address)
        ip, self._port = self._socket.getsockname()[:2]
        where = ipaddress.ip_address(ip)
        try:
            self.token = Token.find(required=not where.is_loopback)
        except BadArgumentError:
            self._socket.close()
            raise
        host = socket.gethostname() if where.is_unspecified else address.host
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    def close(self) -> None:
        """Give the port back, where nothing was served."""
        self._socket.close()

    def announce(self, terminal: Terminal) -> None:
        """Say where the page is, and the token if nobody knows it yet."""
        terminal.say(f"page: {self.url}")
        if self.token and self.token.made:
            terminal.say(f"token: {self.token.text} (of this run; {VARIABLE} sets one of yours)")

    @contextlib.contextmanager
    def serve(self, app: ASGIApp) -> Iterator[None]:
        """Answer requests with `app` while in the block; answers under way are finished."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            Guard(app, self.token, self._host, self._port),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=MAX_CONNECTIONS,
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_graceful_shutdown=CLOSE_TIMEOUT_S,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[self._socket])),
            name="page",
            daemon=True,  # a viewer does not keep the program from ending
        )
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(2 * CLOSE_TIMEOUT_S)


class _Protocol(H11Protocol):
    """HTTP/1.1 that drops stalled clients, which uvicorn would wait for."""

    _resumed = 0
    _seen: tuple[object, ...] = ()
    _check: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._check = self.loop.call_later(CLIENT_TIMEOUT_S, self._drop_if_stalled)

    def connection_lost(self, exc: Exception | None) -> None:
        self._check.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._resumed += 1
        super().resume_writing()

    def _drop_if_stalled(self) -> None:
        cycle, unsent = self.cycle, self.transport.get_write_buffer_size()
        answering = cycle is not None and not cycle.more_body and not cycle.response_complete
        # What changes when a request is complete, when it is answered, and when bytes are taken.
        seen = (id(cycle), answering, unsent, self._resumed)
        if seen == self._seen and not (answering and not unsent):
            self.transport.abort()
            return
        self._seen = seen
        self._check = self.loop.call_later(CLIENT_TIMEOUT_S, self._drop_if_stalled)


def _listen(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
    except (OSError, UnicodeError):
        raise BadArgumentError(f"{address.host}: no such host; give [HOST:]PORT") from None
    try:
        return socket.create_server(where[:2], family=family)
    except OSError as error:
        raise EdgeError(
            f"{address.host}:{address.port}: cannot be listened on "
            f"({os.strerror(error.errno or 0)}); give another port"
        ) from error


def wait_for_interrupt() -> None:
    """Until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
