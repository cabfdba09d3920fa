"""What every request must pass: host, size, token, origin; and the headers of every response."""

from __future__ import annotations

import ipaddress
import logging
import math
import socket
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.server.assets import asset
from edge.server.auth import Token, WrongTries

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4096
# What a browser may ask for before it has the token.
PUBLIC = ("/login", "/page.css", "/icon.svg")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer a browser would not name the origin of a form either.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application that lets through to `app` what is allowed.

    Args:
        token: None where everyone who reaches the port may see the page.
        host: the name that it is served under; besides, IP addresses and this machine's own names
            are taken. Other names are those of a site that had its name lead here (DNS rebinding).
        port: of the server; browsers share cookies between ports.
    """

    def __init__(self, app: ASGIApp, token: Token | None, host: str, port: int) -> None:
        self._app, self._token = app, token
        machine = socket.gethostname().lower()
        self._hosts = {"localhost", host.lower(), machine, f"{machine.partition('.')[0]}.local"}
        self._cookie = f"edge_run_{port}"
        self._wrong = WrongTries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused:
            await refused(scope, receive, send_with_headers)
            return
        body = await _body(receive) if scope["method"] == "POST" else b""
        if body is None:
            await too_large(scope, receive, send_with_headers)
            return
        if scope["path"] == "/login":
            response = self._login(scope, body)
            await response(scope, receive, send_with_headers)
            return

        async def receive_body() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        replay = receive_body if scope["method"] == "POST" else receive
        try:
            await self._app(scope, replay, send_with_headers)
        except Exception:
            _log.exception("%s of the page failed", scope["path"])
            raise

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] not in ("GET", "POST"):
            return error(405, "only GET and POST are answered")
        if not self._is_our_host(headers.getlist("host")):
            return error(421, "this page is not served under that name; use the machine's address")
        if _is_of_another_site(headers) and scope["path"] not in ("/", "/login"):
            return error(403, "the request comes from another page")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return too_large
        if wait_s := self._wrong.wait_s(_address(scope)):
            retry = {"Retry-After": str(math.ceil(wait_s))}
            return error(429, "too many wrong tokens; wait a minute", retry)
        bearer = self._bearer(headers)
        if scope["path"] not in PUBLIC and not self._is_let_in(scope, headers, bearer):
            if scope["path"] == "/":
                return RedirectResponse("/login", 303)
            return error(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})
        if scope["method"] == "POST" and not (bearer and self._token) and not _same_origin(headers):
            return error(403, "the request comes from another page")
        return None

    def _is_our_host(self, hosts: Sequence[str]) -> bool:
        try:
            name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        except ValueError:
            return False
        return name is not None and (name in self._hosts or _is_ip_address(name))

    @staticmethod
    def _bearer(headers: Headers) -> str:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return given.strip() if scheme.lower() == "bearer" else ""

    def _is_let_in(self, scope: Scope, headers: Headers, bearer: str) -> bool:
        if self._token is None:
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        if self._token.is_text(bearer) if bearer else self._token.is_cookie(cookie):
            return True
        if bearer or cookie:
            self._wrong.add(_address(scope))
        return False

    def _login(self, scope: Scope, body: bytes) -> Response:
        if self._token is None:
            return RedirectResponse("/", 303)
        if scope["method"] == "GET":
            return HTMLResponse(asset("login.html"))
        given = parse_qs(body.decode(errors="replace")).get("token", [""])[0].strip()
        if not self._token.is_text(given):
            self._wrong.add(_address(scope))
            message = '<p role="alert">That is not the token.</p>'
            page = asset("login.html").decode().replace("<!-- message -->", message)
            return HTMLResponse(page, 401)
        self._wrong.forget(_address(scope))
        response = RedirectResponse("/", 303)
        response.set_cookie(self._cookie, self._token.cookie, httponly=True, samesite="strict")
        return response


def error(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal, as JSON."""
    return JSONResponse({"error": text}, status, headers)


too_large = error(413, f"at most {MAX_BODY_BYTES} bytes are taken", {"Connection": "close"})


async def _body(receive: Receive) -> bytes | None:
    """Of a request; None where it is too large, whatever its header said."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _is_of_another_site(headers: Headers) -> bool:
    """Whether a browser says so; it says nothing of plain HTTP to other machines."""
    return headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _same_origin(headers: Headers) -> bool:
    """Whether a browser says that the request is of a page of this server."""
    if _is_of_another_site(headers):
        return False
    origin = headers.get("origin", "")
    try:
        return bool(origin) and urlsplit(origin).netloc.lower() == headers["host"].lower()
    except ValueError:
        return False


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _address(scope: Scope) -> str:
    client = Request(scope).client
    return client.host if client else ""
