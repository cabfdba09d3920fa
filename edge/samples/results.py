"""What a report reads of an --out folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError
from edge.files import read_json
from edge.server.folder import Folder
from edge.shapes import SHAPE_COLUMNS, measure_shapes
from edge.sources.images import SUFFIXES, read_image

# Lengths and areas in mm that each particle has in a report.
MM_COLUMNS = ("feret_max_mm", "feret_min_mm", "perimeter_mm", "area_mm2", "volume_mm3")
_NUMBERS = ("frame", "area_px", "diameter_px", "mean_probability", "x_px", "y_px")
_TEXTS = ("colour", "shape")


@dataclass(frozen=True, eq=False)
class Photo:
    """A frame of a run with its particles.

    Attributes:
        folder: name of the --out folder.
        file: as in frames.csv.
        area_mm2: of the whole picture.
        particles: rows with `SHAPE_COLUMNS` and `MM_COLUMNS`; None is not known.
    """

    folder: str
    file: str
    frame: int
    source: str
    area_px: int
    area_mm2: float
    particles: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Results:
    """Of one run.

    Attributes:
        name: of its folder.
        run: summary.json; empty where there is none.
        segments: rows of segments.csv of a belt; empty without one.
        problems: what the report must say of it.
    """

    name: str
    run: dict[str, Any]
    photos: list[Photo]
    mm_per_pixel: float
    segments: list[dict[str, float]]
    problems: list[str]


class ResultsReader:
    """Reads --out folders.

    Args:
        mm_per_pixel: scale of results that have none.
        photos: folder with the photos, where they are no longer at the path of frames.csv.
    """

    def __init__(self, mm_per_pixel: float | None = None, photos: Path | None = None) -> None:
        self._mm_per_pixel, self._photos = mm_per_pixel, photos

    def read(self, path: Path) -> Results:
        """One folder.

        Raises:
            BadArgumentError: it holds no results, the run has not ended, or no scale is known.
            EdgeError: its tables or masks are damaged, or do not belong together.
            OSError: it cannot be read.
        """
        try:
            return self._read(path)
        except (ValueError, csv.Error) as error:
            raise EdgeError(f"{path}: a table is damaged ({error}); run it again") from error

    def _read(self, path: Path) -> Results:
        folder = Folder(path)
        frames = _rows(path / "frames.csv", ("frame", "file", "width", "height", "status"))
        rows = _rows(path / "particles.csv", ("frame", "id", "area_px"))
        segments = _rows(path / "segments.csv", ("begin_px", "end_px", "width_px", "particles"))
        found = _by_frame(rows)
        scale = self._scale(path, rows)
        self._problems: list[str] = []
        self._colourless = 0
        shapes = self._shapes(path, rows)
        photos = []
        for frame in frames:
            if frame["status"] != "processed":
                continue
            key = frame.get("source") or "", int(frame["frame"])
            particles = found.pop(key, [])
            if shapes is None:
                measured = self._measure(folder, frame, key, particles, strip=bool(segments))
            else:
                measured = [shapes[row["id"]] for row in particles]
            area_px = int(frame["width"]) * int(frame["height"])
            photos.append(
                Photo(
                    path.name,
                    frame["file"],
                    key[1],
                    key[0],
                    area_px,
                    area_px * scale**2,
                    [_record(*pair, scale) for pair in zip(particles, measured, strict=True)],
                )
            )
        if found:
            raise EdgeError(f"{path}: particles.csv has frames that frames.csv lacks")
        if not photos:
            raise BadArgumentError(f"{path}: holds no processed frame; leave it out")
        if self._colourless:
            self._problems.append(
                f"{path.name}: no colours of {self._colourless} frames, of which there is no photo "
                f"now; name the folder with --photos, or run with --shapes"
            )
        return Results(
            path.name, self._run(path, len(frames) - len(photos)), photos, scale,
            [{key: float(value or "nan") for key, value in row.items()} for row in segments],
            self._problems,
        )  # fmt: skip

    def _scale(self, path: Path, rows: Sequence[dict[str, str]]) -> float:
        """mm per px: the median over the particles, as it varies in a calibrated frame."""
        scales = [float(row["mm_per_pixel"]) for row in rows if row.get("mm_per_pixel")]
        if not scales and self._mm_per_pixel is None:
            what = "no scale" if rows else "no particle, so no scale"
            raise BadArgumentError(f"{path}: has {what}; give --mm-per-pixel")
        if scales and len(scales) < len(rows):
            raise EdgeError(f"{path}: some particles have a scale and some none; run it again")
        scale = float(np.median(scales)) if scales else float(self._mm_per_pixel or 0)
        if self._mm_per_pixel and abs(self._mm_per_pixel / scale - 1) > 0.01:
            raise BadArgumentError(
                f"{path}: has a scale of its own, {scale:g} mm per px; leave out --mm-per-pixel"
            )
        return scale

    def _run(self, path: Path, unprocessed: int) -> dict[str, Any]:
        summary = path / "summary.json"
        run = read_json(summary) if summary.exists() else {}
        if not isinstance(run, dict) or (run and not {"model", "threshold"} <= set(run)):
            raise EdgeError(f"{summary}: is not of edge-run; remove it")
        if unprocessed:
            self._problems.append(f"{path.name}: {unprocessed} frames were not processed")
        if run.get("ended") not in ("complete", "limit"):
            ended = run.get("ended", "unknown: no summary.json")
            self._problems.append(f"{path.name}: the run did not end as it should ({ended})")
        return run

    def _shapes(
        self, path: Path, rows: Sequence[dict[str, str]]
    ) -> dict[str, dict[str, Any]] | None:
        """By id, from shapes.csv; None where there is none."""
        if not (path / "shapes.csv").exists():
            return None
        shapes = {
            row["id"]: _typed({column: row[column] for column in SHAPE_COLUMNS})
            for row in _rows(path / "shapes.csv", ("id", *SHAPE_COLUMNS))
        }
        if set(shapes) != {row["id"] for row in rows}:
            raise EdgeError(f"{path}: shapes.csv and particles.csv are of different runs")
        return shapes

    def _measure(
        self, folder: Folder, frame: dict[str, str], key: tuple[str, int],
        particles: Sequence[dict[str, str]], *, strip: bool,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """From the mask of a frame, and its photo where that is still there."""
        if not particles:
            return []
        picture = folder.picture("mask", *key)
        if picture is None:
            raise BadArgumentError(
                f"{folder.path}: has no mask of frame {key[1]}; run it again without --no-masks, "
                f"or with --shapes"
            )
        mask = np.ascontiguousarray(read_image(picture)[..., 0])
        image = None if strip else self._photo(frame["file"], mask.shape)
        self._colourless += image is None
        shapes = measure_shapes(mask, image, strip=strip)
        if len(shapes) != len(particles):
            raise EdgeError(
                f"{picture}: holds {len(shapes)} particles and particles.csv {len(particles)}; "
                f"they are of different runs"
            )
        return [shape.record() for shape in shapes]

    def _photo(self, file: str, size_hw: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """A photo of that size; None where it is not to be had."""
        path = Path(file)
        if self._photos:
            path = self._photos / path.name
        if path.suffix.lower() not in SUFFIXES:
            return None
        try:
            image = read_image(path)
        except EdgeError:
            return None
        return image if image.shape[:2] == size_hw else None


def _rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Of a table; segments.csv may be missing.

    Raises:
        BadArgumentError: it is missing, or still being written.
        EdgeError: it lacks a column, or a row is damaged.
    """
    if not path.exists():
        if path.name == "segments.csv":
            return []
        if path.with_name(f"{path.name}.part").exists():
            raise BadArgumentError(
                f"{path.parent}: the run goes on or broke off; wait for its end, or take the .part "
                f"from the names of its tables"
            )
        raise BadArgumentError(f"{path.parent}: holds no {path.name} of edge-run")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in needed if column not in (reader.fieldnames or ())]
        if missing:
            raise EdgeError(f"{path}: lacks the column {missing[0]}; it is not of this edge-run")
        rows = list(reader)
    if any(None in row or None in row.values() for row in rows):
        raise EdgeError(f"{path}: a row is cut off or too long; run it again")
    return rows


def _by_frame(rows: Sequence[dict[str, str]]) -> dict[tuple[str, int], list[dict[str, str]]]:
    """Rows of particles by source and frame."""
    found: dict[tuple[str, int], list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault((row.get("source") or "", int(row["frame"])), []).append(row)
    return found


def _typed(row: dict[str, str]) -> dict[str, Any]:
    """Numbers as numbers, and None for what is empty."""
    return {
        key: None if value == "" else value if key in _TEXTS else float(value)
        for key, value in row.items()
    }


def _record(row: dict[str, str], shape: dict[str, Any], median_scale: float) -> dict[str, Any]:
    """A particle as a report has it: what the run says of it, its shape, and mm."""
    scale = float(row.get("mm_per_pixel") or median_scale)
    area = float(row["area_px"]) * scale**2
    narrow = shape["feret_min_px"] * scale
    lengths = [shape[column] * scale for column in ("feret_max_px", "feret_min_px", "perimeter_px")]
    # Of an ellipsoid as thick as it is wide.
    values = [*lengths, area, 2 / 3 * area * narrow]
    return {
        "id": row["id"],
        **{key: float(row[key]) for key in _NUMBERS if row.get(key)},
        **shape,
        "mm_per_pixel": scale,
        **{key: float(f"{value:.5g}") for key, value in zip(MM_COLUMNS, values, strict=True)},
    }
