"""One line a particle: particles.jsonl and particles.csv."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
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
    row = {"frame": frame.index, "name": frame.name, "time_s": round(frame.time_s, 3)}
    row |= asdict(particle)
    row["x_px"], row["y_px"] = row.pop("x"), row.pop("y")
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
        self._files = [
            (folder / f"{name}.part").open("w", encoding="utf-8", newline="")
            for name in ("particles.jsonl", "particles.csv")
        ]
        self._jsonl, table = self._files
        columns = COLUMNS if mm_per_pixel is None else COLUMNS + MM_COLUMNS
        self._csv = csv.DictWriter(table, columns)
        self._csv.writeheader()

    def write(self, result: Result) -> None:
        for particle in result.particles:
            row = record(result.frame, particle, self._mm_per_pixel)
            self._jsonl.write(json.dumps(row) + "\n")
            self._csv.writerow(row)
        for file in self._files:
            file.flush()

    def close(self) -> None:
        for file in self._files:
            file.close()
            Path(file.name).rename(Path(file.name).with_suffix(""))
