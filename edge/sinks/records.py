"""One line a particle: particles.jsonl and particles.csv."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

from edge.frame import Frame
from edge.particles import Particle
from edge.sinks.sink import Result

COLUMNS = (
    "frame",
    "name",
    "time_s",
    "id",
    "x_px",
    "y_px",
    "area_px",
    "diameter_px",
    "mean_probability",
)
MM_COLUMNS = ("x_mm", "y_mm", "area_mm2", "diameter_mm")


def record(frame: Frame, particle: Particle, mm_per_pixel: float | None) -> dict[str, Any]:
    """One particle as a flat row; lengths also in mm, areas in mm2, where the scale is known."""
    row = {
        "frame": frame.index,
        "name": frame.name,
        "time_s": round(frame.time_s, 3),
        "id": particle.id,
        "x_px": particle.x,
        "y_px": particle.y,
        "area_px": particle.area_px,
        "diameter_px": particle.diameter_px,
        "mean_probability": particle.mean_probability,
    }
    if mm_per_pixel is not None:
        row["x_mm"] = round(particle.x * mm_per_pixel, 4)
        row["y_mm"] = round(particle.y * mm_per_pixel, 4)
        row["area_mm2"] = round(particle.area_px * mm_per_pixel**2, 6)
        row["diameter_mm"] = round(particle.diameter_px * mm_per_pixel, 4)
    return row


class Records:
    """particles.jsonl and particles.csv; named *.part until the run is over."""

    def __init__(self, folder: Path, mm_per_pixel: float | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._mm_per_pixel = mm_per_pixel
        self._columns = COLUMNS if mm_per_pixel is None else COLUMNS + MM_COLUMNS
        self._jsonl = _WholeLines(folder / "particles.jsonl")
        self._csv = _WholeLines(folder / "particles.csv")
        self._csv.append(",".join(self._columns) + "\n")

    def write(self, result: Result) -> None:
        rows = [record(result.frame, p, self._mm_per_pixel) for p in result.particles]
        self._jsonl.append("".join(json.dumps(row) + "\n" for row in rows))
        table = io.StringIO()
        csv.DictWriter(table, self._columns, lineterminator="\n").writerows(rows)
        self._csv.append(table.getvalue())

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._csv.close)
            stack.callback(self._jsonl.close)


class _WholeLines:
    """A text file that never ends in half an entry, not even on a full disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Unbuffered: a failed write shows at once and leaves nothing to be tried again.
        self._file = path.with_name(path.name + ".part").open("xb", buffering=0)

    def append(self, text: str) -> None:
        begin, left = self._file.tell(), memoryview(text.encode())
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(begin)
            raise

    def close(self) -> None:
        self._file.close()
        Path(self._file.name).rename(self._path)
