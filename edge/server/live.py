"""The sink behind the page of a run: the newest result, the history, and what viewers change."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.belt.result import BeltResult
from edge.frame import SkippedFrame
from edge.particles import ParticleFilter
from edge.result import COLUMNS, MM_COLUMNS, Result
from edge.server.belt import BeltView
from edge.server.history import History
from edge.server.sizes import BINS, size_histogram
from edge.sinks.sink import Sink
from edge.visualisation import draw_overlay

if TYPE_CHECKING:
    from edge.pipeline import Pipeline, Statistics
    from edge.sources.source import SourceStatus

# Particles, and frames with particles, that can be downloaded: the newest.
MAX_RECORDS, MAX_RECORD_FRAMES = 50_000, 10_000
# A picture is drawn and encoded at most so often, for however many viewers.
MIN_INTERVAL_S = 0.1
# Larger pictures are shrunk for viewers, but not in a snapshot.
MAX_SIDE_PX, JPEG_QUALITY = 1600, 80
STATISTICS_INTERVAL_S = 1.0
_NO_PIXELS = np.zeros((0, 0), np.uint8)


@dataclass(eq=False)
class Feed:
    """What is kept of one source.

    Attributes:
        newest: the last result.
        at_s: when it came, by `time.monotonic`.
        sizes: histogram of all particles so far.
        belt: what the page shows of it, where it is one.
    """

    newest: Result | None = None
    at_s: float = 0.0
    history: History = field(default_factory=History)
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    belt: BeltView | None = None


@dataclass(frozen=True, eq=False)
class View:
    """What viewers see of a source: its newest result, with the limits that are set now."""

    number: int
    newest: Result
    result: Result
    at_s: float
    made_s: float
    encoded: dict[bool, bytes] = field(default_factory=dict)


class LiveSink(Sink):
    """Keeps what the page shows. `write` copies nothing and waits for no viewer.

    The other methods may be called from any thread; `view`, `jpeg` and `png` take long.

    Args:
        mm_per_pixel: scale of the frames, for the records.
        complete_records: where all records are written, such as the --out folder.
    """

    name = "page"
    on_error = "drop"

    def __init__(
        self, mm_per_pixel: float | None = None, complete_records: str | None = None
    ) -> None:
        self._mm_per_pixel, self._complete_records = mm_per_pixel, complete_records
        self._lock, self._view_lock = threading.Lock(), threading.Lock()
        self._feeds: dict[str, Feed] = {}
        self._views: dict[str, View] = {}
        self._records: deque[Result] = deque()
        self._recorded = self._all_recorded = 0
        self._statistics: tuple[float, Statistics] | None = None
        self._views_made = 0
        self._changes = 0
        self._ended = False

    def attach(self, pipeline: Pipeline) -> None:
        """As `Sink.attach`."""
        self._pipeline = pipeline
        self._initial = pipeline.settings.particle_filter

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        particles = result.particles
        # Without its pixels; all that records are made of.
        record = replace(
            result,
            frame=replace(result.frame, image=_NO_PIXELS),
            probability=_NO_PIXELS,
            mask=_NO_PIXELS,
        )
        sizes = size_histogram([particle.diameter_px for particle in particles])
        latency_s = self._pipeline.last_latency_s
        with self._lock:
            feed = self._feeds.setdefault(result.frame.source, Feed())
        if isinstance(result, BeltResult):
            # It has a lock of its own: resizing its rows would hold up all viewers.
            feed.belt = feed.belt or BeltView()
            feed.belt.add(result)
        with self._lock:
            feed.newest, feed.at_s = result, time.monotonic()
            feed.history.add(frames=1, particles=len(particles), latency_s=latency_s)
            feed.sizes += sizes
            if particles:
                self._records.append(record)
                self._recorded += len(particles)
                self._all_recorded += len(particles)
            while self._recorded > MAX_RECORDS or len(self._records) > MAX_RECORD_FRAMES:
                self._recorded -= len(self._records.popleft().particles)
            self._changes += 1

    def skip(self, frame: SkippedFrame) -> None:
        """As `Sink.skip`."""
        with self._lock:
            feed = self._feeds.setdefault(frame.source, Feed())
            feed.history.add(**{frame.status: 1})

    def close(self) -> None:
        """As `Sink.close`."""
        self._ended = True
        self._changed()

    @property
    def changes(self) -> int:
        """Grows whenever there is something new to show."""
        return self._changes

    def set_limits(
        self, threshold: float, min_diameter_px: float | None, max_diameter_px: float | None
    ) -> None:
        """Threshold and size limits of the run from its next result on, and of the view at once.

        Raises:
            BadArgumentError: one is out of range.
        """
        particle_filter = ParticleFilter(threshold, min_diameter_px, max_diameter_px)
        self._pipeline.settings.particle_filter = particle_filter
        self._changed()

    def pause(self, paused: bool) -> None:
        """Take no more frames, or go on."""
        self._pipeline.paused = paused
        self._changed()

    def state(self, source: str) -> dict[str, Any]:
        """What changes with every frame, of one source; the first where there is none so named."""
        changes = self._changes  # before all else: what comes meanwhile is news
        statuses = self._pipeline.source.statuses()
        name = self._name(source, statuses)
        view = self.view(name)
        return {
            "changes": changes,
            "ended": self._ended,
            "paused": self._pipeline.paused,
            "limits": asdict(self._pipeline.settings.particle_filter),
            "initial_limits": asdict(self._initial),
            "mm_per_pixel": self._mm_per_pixel,
            "source": name,
            "sources": [{**asdict(one), "state": one.state.value} for one in statuses],
            "shown": None if view is None else self._shown(view),
            "belt": belt.state() if (belt := self._belt(name)) else None,
        }

    def statistics(self, source: str) -> dict[str, Any]:
        """What is read once a second: counts and latencies of the run, the history of a source."""
        now_s = time.monotonic()
        # Of all stages' percentiles; every viewer gets the same.
        if self._statistics is None or now_s - self._statistics[0] > STATISTICS_INTERVAL_S:
            self._statistics = now_s, self._pipeline.statistics()
        run = self._statistics[1]
        name = self._name(source, run.sources)
        with self._lock:
            feed = self._feeds.get(name) or Feed()
            history, sizes = feed.history.as_json(), feed.sizes.tolist()
            records = {
                "kept": self._recorded,
                "all": self._all_recorded,
                "complete": self._complete_records,
            }
        return {
            "counts": asdict(run.counts),
            "fps": run.fps,
            "end_to_end_ms": run.end_to_end_ms,
            "latency_ms": run.latency_ms,
            "history": history,
            "sizes": sizes,
            "records": records,
            "segments": belt.segments(self._mm_per_pixel) if (belt := self._belt(name)) else [],
        }

    def view(self, source: str) -> View | None:
        """The newest result with the limits that are set now, so that they act at once even where
        the next result is far; None before the first."""
        with self._view_lock:
            with self._lock:
                feed = self._feeds.get(source)
                newest, at_s = (feed.newest, feed.at_s) if feed else (None, 0.0)
            if newest is None:
                return None
            limits, now_s = self._pipeline.settings.particle_filter, time.monotonic()
            view = self._views.get(source)
            if view and view.result.particle_filter == limits:
                fresh = now_s - view.made_s < MIN_INTERVAL_S and not self._ended
                if view.newest is newest or fresh:
                    return view
            result = newest
            if newest.particle_filter != limits:
                result = Result.of(newest.frame, newest.probability, limits)
            self._views_made += 1
            view = View(self._views_made, newest, result, at_s, now_s)
            self._views[source] = view
            return view

    def jpeg(self, source: str, *, circles: bool) -> bytes | None:
        """The view of a source, with or without circles, encoded once for all viewers."""
        view = self.view(self._name(source, self._pipeline.source.statuses()))
        if view is None:
            return None
        with self._view_lock:
            if circles not in view.encoded:
                picture = _shrunk(_picture(view.result, circles=circles))
                options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
                view.encoded[circles] = cv2.imencode(".jpg", picture, options)[1].tobytes()
            return view.encoded[circles]

    def strip(self, source: str) -> bytes | None:
        """The last rows of a belt as JPEG; None where there are none."""
        belt = self._belt(self._name(source, self._pipeline.source.statuses()))
        return belt.jpeg() if belt else None

    def png(self, source: str, *, circles: bool) -> tuple[str, bytes] | None:
        """The view of a source as a file of full size: its name and content."""
        view = self.view(self._name(source, self._pipeline.source.statuses()))
        if view is None:
            return None
        picture = _picture(view.result, circles=circles)
        content = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        return f"frame-{view.result.frame.index:06d}{'-particles' * circles}.png", content

    def records_csv(self) -> Iterator[str]:
        """The newest records as a CSV file, in parts."""
        mm_columns = () if self._mm_per_pixel is None else MM_COLUMNS
        columns = (*COLUMNS, *mm_columns, *self._pipeline.source.columns)

        def text(write: Callable[[csv.DictWriter[str]], None]) -> str:
            file = io.StringIO()
            write(csv.DictWriter(file, columns, lineterminator="\n"))
            return file.getvalue()

        yield text(lambda table: table.writeheader())
        for rows in self._rows():
            yield text(lambda table, rows=rows: table.writerows(rows))  # type: ignore[misc]

    def records_jsonl(self) -> Iterator[str]:
        """The newest records as JSON Lines, in parts."""
        return ("".join(json.dumps(row) + "\n" for row in rows) for rows in self._rows())

    def _rows(self) -> Iterator[list[dict[str, Any]]]:
        with self._lock:
            records = list(self._records)
        return (record.records(self._mm_per_pixel) for record in records)

    def _belt(self, name: str) -> BeltView | None:
        with self._lock:
            feed = self._feeds.get(name)
        return feed.belt if feed else None

    def _changed(self) -> None:
        with self._lock:
            self._changes += 1

    def _name(self, source: str, statuses: tuple[SourceStatus, ...]) -> str:
        """As in `Frame.source`, which is empty in a run of one source."""
        if len(statuses) == 1:
            return next(iter(self._feeds), "")
        names = [status.name for status in statuses]
        return source if source in names else names[0]

    def _shown(self, view: View) -> dict[str, Any]:
        result = view.result
        height, width = result.frame.size_hw
        return {
            "number": view.number,
            "frame": result.frame.index,
            "file": result.frame.file,
            "time_s": result.frame.time_s,
            "time_base": self._pipeline.source.time_base,
            "width": width,
            "height": height,
            "age_s": round(time.monotonic() - view.at_s, 2),
            "particles": len(result.particles),
            "sizes": size_histogram([p.diameter_px for p in result.particles]).tolist(),
        }


def _picture(result: Result, *, circles: bool) -> NDArray[np.uint8]:
    """(H,W,3) uint8 BGR."""
    if circles:
        return draw_overlay(result)
    return np.asarray(cv2.cvtColor(result.frame.image, cv2.COLOR_RGB2BGR), np.uint8)


def _shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    scale = MAX_SIDE_PX / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
