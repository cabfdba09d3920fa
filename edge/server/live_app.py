"""The page of a run that goes on."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.errors import BadArgumentError
from edge.server.assets import page_routes
from edge.server.guard import error
from edge.server.live import MIN_INTERVAL_S, LiveSink
from edge.server.viewers import Viewers

# How long a request for news waits for some; then the viewer hears that all is as it was.
NEWS_TIMEOUT_S = 2.0
NEWS_POLL_S = 0.05
MAX_ID_LENGTH = 40
LIMITS = ("threshold", "min_diameter_px", "max_diameter_px")


def live_app(sink: LiveSink) -> Starlette:
    """The page of the run that `sink` belongs to."""
    return Starlette(
        routes=[*page_routes("live"), *_Live(sink).routes()],
        exception_handlers={HTTPException: _on_http_exception},
    )


class _Live:
    def __init__(self, sink: LiveSink) -> None:
        self._sink, self._viewers = sink, Viewers()

    def routes(self) -> list[Route]:
        return [
            Route("/api/state", self.state),
            Route("/api/statistics", self.statistics),
            Route("/api/limits", self.set_limits, methods=["POST"]),
            Route("/api/pause", self.pause, methods=["POST"]),
            Route("/frame.jpg", self.jpeg),
            Route("/strip.jpg", self.strip),
            Route("/snapshot.png", self.png),
            Route("/records.csv", self.records_csv),
            Route("/records.jsonl", self.records_jsonl),
        ]

    async def state(self, request: Request) -> Response:
        """At once without `after`, else when there is more than after that change."""
        self._admit(request)
        after = request.query_params.get("after", "")
        if after.isdecimal():
            # Whatever the frame rate, a viewer hears of it ten times a second.
            await asyncio.sleep(MIN_INTERVAL_S)
            left_s = NEWS_TIMEOUT_S
            while self._sink.changes == int(after) and left_s > 0:
                await asyncio.sleep(NEWS_POLL_S)
                left_s -= NEWS_POLL_S
        return JSONResponse(await asyncio.to_thread(self._sink.state, _source(request)))

    async def statistics(self, request: Request) -> Response:
        self._admit(request)
        return JSONResponse(await asyncio.to_thread(self._sink.statistics, _source(request)))

    async def set_limits(self, request: Request) -> Response:
        values = await _json(request, LIMITS)
        for name, value in values.items():
            if value is None and name != "threshold":
                continue
            if type(value) not in (int, float) or not math.isfinite(value):
                return error(400, f"{name}: is not a number")
        try:
            self._sink.set_limits(**values)
        except BadArgumentError as problem:
            return error(400, str(problem))
        return Response(status_code=204)

    async def pause(self, request: Request) -> Response:
        values = await _json(request, ("paused",))
        if not isinstance(values["paused"], bool):
            return error(400, "paused: is neither true nor false")
        self._sink.pause(values["paused"])
        return Response(status_code=204)

    async def jpeg(self, request: Request) -> Response:
        self._admit(request)
        content = await asyncio.to_thread(
            self._sink.jpeg, _source(request), circles=_circles(request)
        )
        if content is None:
            return error(404, "there is no frame yet")
        return Response(content, media_type="image/jpeg")

    async def strip(self, request: Request) -> Response:
        self._admit(request)
        content = await asyncio.to_thread(self._sink.strip, _source(request))
        if content is None:
            return error(404, "there is no belt")
        return Response(content, media_type="image/jpeg")

    async def png(self, request: Request) -> Response:
        self._admit(request)
        file = await asyncio.to_thread(self._sink.png, _source(request), circles=_circles(request))
        if file is None:
            return error(404, "there is no frame yet")
        return Response(file[1], media_type="image/png", headers=attachment(file[0]))

    async def records_csv(self, _: Request) -> Response:
        return _download(self._sink.records_csv(), "text/csv", "particles.csv")

    async def records_jsonl(self, _: Request) -> Response:
        return _download(self._sink.records_jsonl(), "application/jsonl", "particles.jsonl")

    def _admit(self, request: Request) -> None:
        """Programs that give no id count by their address."""
        client = request.client.host if request.client else ""
        if not self._viewers.admit(request.query_params.get("viewer", client)[:MAX_ID_LENGTH]):
            raise HTTPException(503, "too many viewers")


def attachment(name: str) -> dict[str, str]:
    """The header that makes a browser store what it gets, under that plain name."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _source(request: Request) -> str:
    return request.query_params.get("source", "")


def _circles(request: Request) -> bool:
    return request.query_params.get("circles") != "0"


def _download(parts: Iterator[str], media_type: str, name: str) -> Response:
    return StreamingResponse(parts, media_type=media_type, headers=attachment(name))


async def _json(request: Request, names: tuple[str, ...]) -> dict[str, Any]:
    """The body, an object with exactly these names."""
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(values, dict) or set(values) != set(names):
        raise HTTPException(400, f"give an object with {', '.join(names)}")
    return values


async def _on_http_exception(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    return error(problem.status_code, problem.detail)
