"""Records as text: a row per particle or its shape, per frame or per segment of a belt."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.belt.density import SEGMENT_COLUMNS, SEGMENT_MM_COLUMNS
from edge.belt.result import BeltResult
from edge.belt.source import BeltSource
from edge.errors import BadArgumentError, printable
from edge.frame import Frame, SkippedFrame
from edge.result import COLUMNS, MM_COLUMNS, Result
from edge.shapes import SHAPE_COLUMNS, SHAPE_MM_COLUMNS, measure_shapes
from edge.sinks.append_only_file import AppendOnlyFile
from edge.sinks.rotation import NEVER, Rotation
from edge.sinks.sink import Sink

if TYPE_CHECKING:
    from edge.pipeline import Pipeline

FRAME_COLUMNS = ("frame", "file", "time_s", "width", "height", "particles", "status", "reason",
                 "source")  # fmt: skip


class JsonLinesSink(Sink):
    """A JSON object per particle and line, as `Result.records`; named *.part until it is full."""

    def __init__(
        self, path: Path, rotation: Rotation = NEVER, mm_per_pixel: float | None = None
    ) -> None:
        self.name = path.name
        self._mm_per_pixel = mm_per_pixel
        self._file = AppendOnlyFile(path, rotation)

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        rows = map(_printable, result.records(self._mm_per_pixel))
        self._file.append("".join(json.dumps(row) + "\n" for row in rows))

    def close(self) -> None:
        """As `Sink.close`."""
        self._file.close()


class CsvSink(Sink):
    """A row per particle, as `Result.records`; named *.part until it is full."""

    def __init__(
        self, path: Path, rotation: Rotation = NEVER, mm_per_pixel: float | None = None
    ) -> None:
        self.name = path.name
        self._mm_per_pixel = mm_per_pixel
        columns = COLUMNS if mm_per_pixel is None else COLUMNS + MM_COLUMNS
        self._table = _Table(path, columns, rotation)

    def attach(self, pipeline: Pipeline) -> None:
        """As `Sink.attach`."""
        self._table.add_columns(pipeline.source.columns)

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        self._table.append(result.records(self._mm_per_pixel))

    def close(self) -> None:
        """As `Sink.close`."""
        self._table.close()


class FrameCsvSink(Sink):
    """A row per frame, also for those without particles and those that were skipped."""

    def __init__(self, path: Path, rotation: Rotation = NEVER) -> None:
        self.name = path.name
        self._table = _Table(path, FRAME_COLUMNS, rotation)

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        height, width = result.frame.size_hw
        row = {
            "width": width,
            "height": height,
            "particles": len(result.particles),
            "status": "processed",
        }
        self._append(result.frame, row)

    def skip(self, frame: SkippedFrame) -> None:
        """As `Sink.skip`."""
        row = {"status": frame.status, "reason": frame.reason}
        self._append(frame, row)

    def close(self) -> None:
        """As `Sink.close`."""
        self._table.close()

    def _append(self, frame: Frame | SkippedFrame, more: dict[str, Any]) -> None:
        row: dict[str, Any] = {
            "frame": frame.index,
            "file": frame.file,
            "time_s": None if frame.time_s is None else round(frame.time_s, 6),
            "source": frame.source,
        }
        self._table.append([row | more])


class ShapeCsvSink(Sink):
    """A row per particle with its size, outline, colour and shape class, as `Shape.record`."""

    def __init__(
        self, path: Path, rotation: Rotation = NEVER, mm_per_pixel: float | None = None
    ) -> None:
        self.name = path.name
        self._mm_per_pixel = mm_per_pixel
        mm_columns = () if mm_per_pixel is None else SHAPE_MM_COLUMNS
        self._table = _Table(path, ("frame", "source", "id", *SHAPE_COLUMNS, *mm_columns), rotation)

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        strip = isinstance(result, BeltResult)
        shapes = measure_shapes(result.mask, result.frame.image, strip=strip)
        rows = result.records(self._mm_per_pixel)
        self._table.append(
            {
                **{column: row[column] for column in ("frame", "source", "id")},
                **shape.record(row.get("mm_per_pixel")),
            }
            for shape, row in zip(shapes, rows, strict=True)
        )

    def close(self) -> None:
        """As `Sink.close`."""
        self._table.close()


class SegmentCsvSink(Sink):
    """A row per segment of a belt, as `Segment.record`; named *.part until it is full."""

    def __init__(
        self, path: Path, rotation: Rotation = NEVER, mm_per_pixel: float | None = None
    ) -> None:
        self.name = path.name
        self._mm_per_pixel = mm_per_pixel
        mm_columns = () if mm_per_pixel is None else SEGMENT_MM_COLUMNS
        self._table = _Table(path, SEGMENT_COLUMNS + mm_columns, rotation)
        self._of_belt = False

    def attach(self, pipeline: Pipeline) -> None:
        """As `Sink.attach`.

        Raises:
            BadArgumentError: the run is not over a belt.
        """
        self._of_belt = isinstance(pipeline.source, BeltSource)
        if not self._of_belt:
            raise BadArgumentError(f"{self.name}: only a belt has segments; give --belt")

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        assert isinstance(result, BeltResult)
        self._table.append(segment.record(self._mm_per_pixel) for segment in result.segments)

    def close(self) -> None:
        """As `Sink.close`."""
        if self._of_belt:
            self._table.close()


def _printable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts hold no control characters and no bytes that are not UTF-8."""
    return {k: printable(v) if isinstance(v, str) else v for k, v in row.items()}


class _Table:
    """CSV files with a header."""

    def __init__(self, path: Path, columns: tuple[str, ...], rotation: Rotation) -> None:
        self._columns = columns
        self._file = AppendOnlyFile(path, rotation, _header(columns))

    def add_columns(self, columns: tuple[str, ...]) -> None:
        """Before anything is appended."""
        self._columns += columns
        self._file.header = _header(self._columns)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(map(_printable, rows))
        self._file.append(text.getvalue())

    def close(self) -> None:
        self._file.close()


def _header(columns: tuple[str, ...]) -> str:
    return ",".join(columns) + "\n"
