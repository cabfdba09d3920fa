"""A belt as a source: the frames of a camera become chunks of one strip."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from edge.belt.chunks import Chunk, Chunks, chunk_rows
from edge.belt.frame import BeltFrame
from edge.belt.registration import Position, Registration
from edge.belt.result import BELT_COLUMNS
from edge.belt.settings import BeltSettings
from edge.belt.strip import Rows, Strip
from edge.engines.engine import Engine
from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame, SkippedFrame
from edge.sources.source import Source, SourceStatus

# What is noted of each row, as in `BeltFrame`.
ROW = np.dtype([("passed_s", np.float64), ("measured", np.bool_), ("crossweb", np.float64)])


class BeltSource(Source):
    """Gives the strip that the frames of an opened source show, in chunks for `engine`.

    A belt that stands still gives none. The chunks of a strip together have each of its rows in
    their valid rows once.

    Attributes:
        registration: what is known of the belt's movement.
        lost_rows: rows that were in no frame.

    Raises:
        BadArgumentError: there are several sources.
    """

    columns = BELT_COLUMNS

    def __init__(self, source: Source, engine: Engine, settings: BeltSettings) -> None:
        super().__init__(source.uri)
        if len(source.parts()) > 1:
            raise BadArgumentError("a belt is seen by one camera; give one source")
        self._source, self._engine, self._settings = source, engine, settings
        self.live, self.time_base = source.live, source.time_base
        self.problems = source.problems
        self.registration = Registration(settings)
        self.lost_rows = 0
        self._strip: Strip | None = None
        self._chunks: Chunks | None = None
        self._counter = itertools.count()
        # Of the rows from the first that is not given, and of some before.
        self._rows = np.empty(0, ROW)
        self._marked = 0
        self._last: tuple[float, float | None] = (0.0, None)
        self._closed = False

    def statuses(self) -> tuple[SourceStatus, ...]:
        """As `Source.statuses`."""
        return self._source.statuses()

    def close(self) -> None:
        """As `Source.close`."""
        self._source.close()
        if not self._closed:
            self._closed = True
            self.problems += self._doubts()

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Raises EdgeError as the source does, and where its frames differ in size."""
        frame: Frame | None = None
        for item in self._source:
            if isinstance(item, SkippedFrame):
                yield item
                continue
            frame = item
            yield from self._add(frame)
        self.truncated = self._source.truncated
        if frame and self._chunks and (chunk := self._chunks.finish()):
            yield self._frame(chunk, frame)

    def _add(self, frame: Frame) -> Iterator[BeltFrame]:
        position = self.registration.add(frame.image, frame.time_s, frame.encoder)
        if self.registration.direction is None:
            if self._last[1] is None:
                self._last = position.downweb, frame.time_s
            return
        if self._strip is None:
            self._strip = Strip(self.registration.direction, self._scan_row(frame))
        for rows in self._strip.add(frame.image, position):
            yield from self._append(rows, position, frame)
        self._last = position.downweb, frame.time_s
        if self._is_late(frame) and self._chunks and (chunk := self._chunks.early()):
            yield self._frame(chunk, frame)

    def _append(self, rows: Rows, position: Position, frame: Frame) -> Iterator[BeltFrame]:
        if self._chunks and rows.first != self._chunks.next:
            self.lost_rows += rows.first - self._chunks.next
            if chunk := self._chunks.finish():
                yield self._frame(chunk, frame)
            self._chunks = None
        if self._chunks is None:
            width, info = rows.pixels.shape[1], self._engine.info
            count = self._settings.chunk_rows or chunk_rows(self._engine, width)
            self._chunks = Chunks(
                width, count, halo=info.halo, multiple=info.multiple, first=rows.first
            )
            self._marked = rows.first
            self._rows = np.empty(0, ROW)
        self._mark(rows, position, frame.time_s)
        for chunk in self._chunks.add(rows.pixels):
            yield self._frame(chunk, frame)

    def _mark(self, rows: Rows, position: Position, time_s: float | None) -> None:
        """Note when the rows passed, and whether that was measured."""
        numbers = rows.first + np.arange(len(rows.pixels))
        before, before_s = self._last
        if time_s is None or before_s is None:
            passed_s = np.full(len(numbers), np.nan if time_s is None else time_s)
        else:
            travel = max(position.downweb - before, 1e-9)
            passed_s = before_s + (numbers - before) / travel * (time_s - before_s)
            passed_s = np.clip(passed_s, before_s, time_s)
        marked = np.empty(len(numbers), ROW)
        marked["passed_s"] = passed_s
        marked["measured"], marked["crossweb"] = rows.measured, rows.crossweb
        self._rows = np.concatenate([self._rows, marked])

    def _is_late(self, frame: Frame) -> bool:
        """Whether rows have waited too long since all came that their map takes."""
        limit_s = self._settings.max_latency_s
        if limit_s is None or frame.time_s is None or self._chunks is None:
            return False
        complete = self._chunks.pending + max(self._engine.info.halo, 1) - self._marked
        return complete < len(self._rows) and (
            frame.time_s - float(self._rows["passed_s"][complete]) >= limit_s
        )

    def _frame(self, chunk: Chunk, frame: Frame) -> BeltFrame:
        rows = slice(chunk.first - self._marked, chunk.first + len(chunk.pixels) - self._marked)
        made = BeltFrame(
            chunk.pixels,
            next(self._counter),
            frame.file,
            frame.time_s,
            first_row=chunk.first,
            valid=chunk.valid,
            ends=chunk.ends,
            passed_s=self._rows["passed_s"][rows],
            measured=self._rows["measured"][rows],
            crossweb=self._rows["crossweb"][rows],
            motion=self.registration.motion,
        )
        # Earlier rows are still in the next chunk, but no more of them than are in this.
        self._rows = self._rows[rows.start :]
        self._marked = chunk.first
        return made

    def _scan_row(self, frame: Frame) -> int | None:
        """In the turned frames.

        Raises:
            EdgeError: it is in none.
        """
        line, direction = self._settings.scan_row, self.registration.direction
        if line is None or direction is None:
            return None
        height, width = frame.size_hw
        if line >= (height if direction.vertical else width):
            raise EdgeError(
                f"scan row {line} is not in frames of {width}x{height} px in which the belt moves "
                f"{direction.value}; give a smaller one"
            )
        return direction.row(line, frame.size_hw)

    def _doubts(self) -> list[str]:
        said, known = [], self.registration
        if known.frames and self._chunks is None:
            said.append(f"{self.uri}: the belt was not seen to move in {known.frames} frames")
        if known.assumed:
            said.append(
                f"{self.uri}: the belt's position is assumed in {known.assumed} of {known.frames} "
                f"frames, which showed too little to measure it"
            )
        if self.lost_rows:
            said.append(f"{self.uri}: {self.lost_rows} rows of the belt were in no frame")
        return said
