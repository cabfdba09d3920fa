"""The page of a folder of results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.errors import EdgeError, describe
from edge.server.assets import page_routes
from edge.server.folder import TABLES, Folder, lines_of
from edge.server.guard import error
from edge.server.live_app import attachment

MEDIA_TYPES = {".csv": "text/csv", ".jsonl": "application/jsonl", ".json": "application/json"}


def folder_app(folder: Folder) -> Starlette:
    """The page of the results in `folder`."""
    pages = _FolderPages(folder)
    routes = [
        *page_routes("folder"),
        Route("/api/summary", pages.summary),
        Route("/api/frames/{page:int}", pages.frames),
        Route("/api/particles/{frame:int}", pages.particles),
        Route("/pictures/{kind}/{frame:int}", pages.picture),
        Route("/files/{name}", pages.file),
    ]
    return Starlette(routes=routes, exception_handlers={EdgeError: _failed, OSError: _failed})


class _FolderPages:
    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._one_at_a_time = asyncio.Lock()

    async def summary(self, _: Request) -> Response:
        return await self._json(self._folder.summary)

    async def frames(self, request: Request) -> Response:
        return await self._json(self._folder.frames, request.path_params["page"])

    async def particles(self, request: Request) -> Response:
        return await self._json(
            self._folder.particles, _source(request), request.path_params["frame"]
        )

    async def picture(self, request: Request) -> Response:
        kind, frame = request.path_params["kind"], request.path_params["frame"]
        async with self._one_at_a_time:
            path = await asyncio.to_thread(self._folder.picture, kind, _source(request), frame)
        if path is None:
            return error(404, "there is no such picture")
        media_type = "image/png" if path.suffix == ".png" else "image/jpeg"
        return Response(await asyncio.to_thread(path.read_bytes), media_type=media_type)

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        path = self._folder.table(name) if name in (*TABLES, "summary.json") else None
        if path is None:
            return error(404, "there is no such file")
        size, parts = await asyncio.to_thread(lines_of, path)
        media_type = MEDIA_TYPES[name[name.rindex(".") :]]
        headers = {"Content-Length": str(size), **attachment(name)}
        return StreamingResponse(parts, media_type=media_type, headers=headers)

    async def _json(self, read: Callable[..., Any], *args: object) -> Response:
        async with self._one_at_a_time:
            return JSONResponse(await asyncio.to_thread(read, *args))


def _source(request: Request) -> str:
    return request.query_params.get("source", "")


async def _failed(_: Request, problem: Exception) -> Response:
    return error(500, describe(problem))
