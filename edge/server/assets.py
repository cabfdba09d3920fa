"""The files of the page, which ship in this package."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@functools.cache
def asset(name: str) -> bytes:
    """The content of a file in `edge/server/page`."""
    return (resources.files("edge.server") / "page" / name).read_bytes()


def asset_route(path: str, name: str) -> Route:
    """A route that answers with a file in `edge/server/page`."""

    async def answer(_: Request) -> Response:
        return Response(asset(name), media_type=TYPES[PurePath(name).suffix])

    return Route(path, answer)


def page_routes(name: str) -> list[Route]:
    """Those of a page NAME.html with its NAME.js, and what all pages share."""
    shared = ("page.css", "icon.svg", "charts.js", f"{name}.js")
    return [asset_route("/", f"{name}.html"), *(asset_route(f"/{file}", file) for file in shared)]
