"""One SQLite file for all runs: tables of runs, frames, particles and segments of belts."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.belt.density import SEGMENT_COLUMNS, SEGMENT_MM_COLUMNS
from edge.belt.result import BELT_COLUMNS, BeltResult
from edge.errors import printable
from edge.frame import SkippedFrame
from edge.result import Result
from edge.sinks.database import Database, Schema
from edge.sinks.sink import Sink

if TYPE_CHECKING:
    from edge.pipeline import Pipeline

SCHEMA = Schema(
    name="database of particles",
    application_id=0x6D706564,
    version=2,
    sql="""
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started TEXT NOT NULL,         -- UTC, ISO 8601
        finished TEXT,                 -- NULL while it runs, and where it was killed
        sources TEXT NOT NULL,
        time_base TEXT NOT NULL,       -- what time_s counts from: 'unix' or 'clip'
        model TEXT NOT NULL,
        device TEXT NOT NULL,
        mm_per_pixel REAL
    );
    CREATE TABLE frames (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        frame INTEGER NOT NULL,        -- of its source, from 0
        source TEXT NOT NULL,          -- empty in a run of one source
        file TEXT NOT NULL,
        time_s REAL,
        width INTEGER,
        height INTEGER,
        threshold REAL,
        particles INTEGER,
        status TEXT NOT NULL,          -- 'processed', 'dropped' or 'failed'
        reason TEXT NOT NULL
    );
    CREATE INDEX frames_by_run ON frames (run_id, frame);
    CREATE INDEX frames_by_time ON frames (time_s);
    CREATE TABLE particles (
        frame_id INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE,
        id TEXT NOT NULL,
        x_px REAL NOT NULL,
        y_px REAL NOT NULL,
        area_px INTEGER NOT NULL,
        diameter_px REAL NOT NULL,
        mean_probability REAL NOT NULL,
        x_mm REAL,
        y_mm REAL,
        area_mm2 REAL,
        diameter_mm REAL,
        -- Of a belt only; y_px and x_px are the place along and across it.
        passed_s REAL,                 -- when it passed the scan row, as time_s
        registration TEXT,             -- 'measured' or 'assumed'
        speed_px_s REAL,
        eject_s REAL,
        eject_error_s REAL,
        eject_crossweb_px REAL,
        eject_error_px REAL
    );
    CREATE INDEX particles_by_frame ON particles (frame_id);
    CREATE TABLE segments (            -- of a belt, over its whole width
        run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        segment INTEGER NOT NULL,
        begin_px INTEGER NOT NULL,
        end_px INTEGER NOT NULL,
        width_px INTEGER NOT NULL,
        passed_s REAL,
        measured REAL NOT NULL,        -- fraction of the rows
        particles INTEGER NOT NULL,
        lane_1 INTEGER NOT NULL,
        lane_2 INTEGER NOT NULL,
        lane_3 INTEGER NOT NULL,
        lane_4 INTEGER NOT NULL,
        lane_5 INTEGER NOT NULL,
        lane_6 INTEGER NOT NULL,
        lane_7 INTEGER NOT NULL,
        lane_8 INTEGER NOT NULL,
        begin_mm REAL,
        end_mm REAL,
        width_mm REAL,
        particles_per_m REAL,
        particles_per_m2 REAL
    );
    CREATE INDEX segments_by_run ON segments (run_id, segment);
    """,
)
_PARTICLE_COLUMNS = ("id", "x_px", "y_px", "area_px", "diameter_px", "mean_probability", "x_mm",
                     "y_mm", "area_mm2", "diameter_mm", *BELT_COLUMNS[2:])  # fmt: skip


class SqliteSink(Sink):
    """Appends a run to an SQLite file, which is made where it is not there. A frame and its
    particles are one transaction, and can be read by others while the run goes on.

    Raises:
        BadArgumentError: another kind of file is there.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, mm_per_pixel: float | None = None) -> None:
        self.name = path.name
        self._mm_per_pixel = mm_per_pixel
        self._database = Database(path, SCHEMA)
        self._run: int | None = None

    def attach(self, pipeline: Pipeline) -> None:
        """As `Sink.attach`. Raises OSError where the file cannot be written."""
        source, engine = pipeline.source, pipeline.engine
        names = ", ".join(printable(status.name) for status in source.statuses())
        row = (_now(), names, source.time_base, engine.info.model, engine.device)
        with self._database.transaction() as connection:
            self._run = connection.execute(
                "INSERT INTO runs (started, sources, time_base, model, device, mm_per_pixel) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*row, self._mm_per_pixel),
            ).lastrowid

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        frame, (height, width) = result.frame, result.frame.size_hw
        row = {
            "width": width,
            "height": height,
            "threshold": result.particle_filter.threshold,
            "particles": len(result.particles),
            "status": "processed",
        }
        self._insert(frame.index, frame.source, frame.file, frame.time_s, row, result)

    def skip(self, frame: SkippedFrame) -> None:
        """As `Sink.skip`."""
        row = {"status": frame.status, "reason": printable(frame.reason)}
        self._insert(frame.index, frame.source, frame.file, frame.time_s, row)

    def close(self) -> None:
        """As `Sink.close`."""
        try:
            with self._database.transaction() as connection:
                run = (_now(), self._run)
                connection.execute("UPDATE runs SET finished = ? WHERE id = ?", run)
        finally:
            self._database.close()

    def _insert(
        self,
        index: int,
        source: str,
        file: str,
        time_s: float | None,
        more: dict[str, Any],
        result: Result | None = None,
    ) -> None:
        row = {"run_id": self._run, "frame": index, "source": printable(source)}
        row |= {"file": printable(file), "time_s": time_s, "reason": ""} | more
        with self._database.transaction() as connection:
            frame = connection.execute(_insertion("frames", tuple(row)), row).lastrowid
            if result:
                particles = result.records(self._mm_per_pixel)
                connection.executemany(
                    _insertion("particles", ("frame_id", *_PARTICLE_COLUMNS)),
                    [
                        {"frame_id": frame} | {key: values.get(key) for key in _PARTICLE_COLUMNS}
                        for values in particles
                    ],
                )
            if isinstance(result, BeltResult):
                connection.executemany(
                    _insertion("segments", ("run_id", *SEGMENT_COLUMNS, *SEGMENT_MM_COLUMNS)),
                    [
                        {"run_id": self._run}
                        | dict.fromkeys(SEGMENT_MM_COLUMNS)
                        | segment.record(self._mm_per_pixel)
                        for segment in result.segments
                    ],
                )


def _insertion(table: str, columns: tuple[str, ...]) -> str:
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
