"""Points clicked on particles, as labels where nobody draws outlines.

POINTS.csv has one row per point, in columns file, x, y and, if any are doubtful, ignore:

    file,x,y,ignore
    tray.jpg,103.5,88,0
    tray.jpg,140,91.2,1

POINTS.json holds COCO keypoints: every keypoint of visibility 2 is a point.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError, require_extra
from edge.sources.images import nested_image_files, read_image
from train.data.photo_names import PhotoFiles
from train.data.store import Store

if TYPE_CHECKING:
    from train.data.coco import Entry

COLUMNS = ("file", "x", "y")
XY = tuple[float, float]
# File, x, y, and whether it is ignored.
PointRow = tuple[str, float, float, bool]


@dataclass(frozen=True, eq=False)
class PointLabels:
    """Particles of one photo as float64 `points` (n,2): x and y, px, where the first pixel's centre
    is (0, 0). Whether the places `ignored` (m,2) hold one is doubtful."""

    points: NDArray[np.float64]
    ignored: NDArray[np.float64]

    @classmethod
    def of(cls, points: Sequence[XY], ignored: Sequence[XY]) -> PointLabels:
        """From (x, y) each."""
        return cls(*(np.array(part, np.float64).reshape(-1, 2) for part in (points, ignored)))


NO_POINTS = PointLabels.of([], [])


@dataclass(frozen=True, eq=False)
class PointSample:
    """`image` (H,W,3) uint8 RGB and its points."""

    name: str
    image: NDArray[np.uint8]
    labels: PointLabels


def read_points(path: Path) -> dict[str, PointLabels]:
    """The points of each photo that has any, by the file name that the file gives.

    Args:
        path: .csv with columns file, x, y and optionally ignore (0 or 1), or .json of COCO
            keypoints, of which those with visibility 1, or of an annotation with iscrowd 1, are
            ignored.

    Raises:
        BadArgumentError: the file is missing, or is neither.
        EdgeError: a row or an annotation is not what it must be; it is named.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise BadArgumentError(f"{path}: no such file; give a .csv or a COCO .json of points")
    match path.suffix.lower():
        case ".csv":
            rows = _csv_rows(path)
        case ".json":
            with require_extra("train"):
                from train.data.coco import read_coco
            rows = (row for entry in read_coco(path).values() for row in _keypoints(entry))
        case _:
            raise BadArgumentError(f"{path}: points are read from .csv or COCO .json files")
    points: dict[str, tuple[list[XY], list[XY]]] = defaultdict(lambda: ([], []))
    for file, x, y, ignore in rows:
        points[file][ignore].append((x, y))
    return {file: PointLabels.of(*both) for file, both in points.items()}


def _csv_rows(path: Path) -> Iterator[PointRow]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield from _parsed(csv.DictReader(file), path)
        except (csv.Error, UnicodeDecodeError) as error:
            raise EdgeError(f"{path}: not a readable CSV file ({error})") from error


def _parsed(reader: csv.DictReader[str], path: Path) -> Iterator[PointRow]:
    for column in COLUMNS:
        if column not in (reader.fieldnames or ()):
            raise EdgeError(
                f"{path}: has no column {column!r}; the first line must be file,x,y or "
                f"file,x,y,ignore"
            )
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if not row["file"]:
            raise EdgeError(f"{where}: names no file")
        ignore = row.get("ignore") or "0"
        if ignore not in ("0", "1"):
            raise EdgeError(f"{where}: ignore is {ignore!r}; it must be 0 or 1")
        x, y = (_coordinate(row[axis], f"{where}: {axis}") for axis in "xy")
        yield row["file"], x, y, ignore == "1"


def _keypoints(entry: Entry) -> Iterator[PointRow]:
    for annotation in entry.annotations:
        where = f"{entry}, annotation {annotation.get('id')}"
        numbers = annotation.get("keypoints")
        if not isinstance(numbers, list) or not numbers or len(numbers) % 3:
            raise EdgeError(f"{where} has no keypoints x1, y1, v1, x2, y2, v2...")
        for x, y, visibility in zip(*(numbers[i::3] for i in range(3)), strict=True):
            if visibility not in (0, 1, 2):
                raise EdgeError(f"{where}: visibility is {visibility!r}; it must be 0, 1 or 2")
            if visibility:
                ignored = visibility == 1 or annotation.get("iscrowd") == 1
                at = _coordinate(x, f"{where}: x"), _coordinate(y, f"{where}: y")
                yield entry.photo, *at, ignored


def _coordinate(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise EdgeError(f"{where} is {value!r}; it must be a number of pixels")
    if number < 0:
        raise EdgeError(f"{where} is {value!r}; pixels are counted from 0, left and top")
    return number


def point_samples(folder: Path, labels: Mapping[str, PointLabels]) -> list[PointSample]:
    """Every photo of `folder`/images or, where there is no such folder, of `folder`; in memory or,
    beyond what that holds, in a temporary file.

    A photo that `labels` does not name has no particle.

    Raises:
        EdgeError: there are no photos, one is unreadable, a point lies outside its photo, or
            `labels` names a photo that is not there.
    """
    folder = folder / "images" if (folder / "images").is_dir() else folder
    files = nested_image_files(folder)
    if not files:
        raise EdgeError(f"{folder}: holds no images")
    known, store = PhotoFiles(files), Store()
    by_file: dict[Path, PointLabels] = {}
    for name, points in sorted(labels.items()):
        path = known.find(name)
        if path is None:
            raise EdgeError(
                f"{name}: has points but is not in {folder}, or more than once; name it by its "
                f"folder, too"
            )
        if path in by_file:
            raise EdgeError(f"{name}: is {path}, as another name with points is; keep one")
        by_file[path] = points
    photos = [
        PointSample(
            path.relative_to(folder).as_posix(),
            store.keep(read_image(path)),
            by_file.get(path, NO_POINTS),
        )
        for path in files
    ]
    for photo in photos:
        height, width = photo.image.shape[:2]
        for x, y in np.vstack([photo.labels.points, photo.labels.ignored]):
            if x > width - 0.5 or y > height - 0.5:
                raise EdgeError(
                    f"{photo.name}: the point ({x:g}, {y:g}) is outside of the photo, "
                    f"which is {width}x{height} px"
                )
    return photos
