"""Points in tables: one with the photos' names, or one for each photo, as ImageJ and QuPath write.

Coordinates are taken as they are, where the first pixel's centre is at (0, 0).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from edge.sources.images import SUFFIXES as PHOTO_SUFFIXES
from train.data.formats.labels import PhotoLabels, Shape, Skipped, files_in

NAME = "lists of points"
SUFFIXES = (".csv", ".tsv", ".txt")
FILE = ("file", "filename", "file_name", "image", "photo", "name", "label")
CLASS = ("class", "classification", "category", "type")
NO_NUMBER = "a row whose x and y are not numbers of pixels"
Rows = list[list[str]]


def find(source: Path) -> list[Path]:
    """The tables with columns x and y, or of two numbers in each line."""
    return [path for path in files_in(source, *SUFFIXES) if _columns(_rows(path))]


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The points of each photo."""
    photos: dict[tuple[str, ...], PhotoLabels] = {}
    for path in files:
        rows = _rows(path)
        columns = _columns(rows)
        own = tuple(str(path.with_suffix(s)) for s in ("", *_photo_suffixes()))
        for row in rows[1 if columns["header"] else 0 :]:
            cells = {key: row[at] if 0 <= at < len(row) else "" for key, at in columns.items()}
            try:
                x, y = (float(cells[axis]) for axis in "xy")
            except ValueError:
                skipped.add(NO_NUMBER, path.name)
                continue
            # ImageJ writes a.jpg:0001-0002 and the like.
            names = (cells["file"].partition(":")[0],) if cells["file"] else own
            found = photos.setdefault(names, PhotoLabels(names))
            doubtful = cells["ignore"] == "1"
            point = (x + 0.5, y + 0.5)
            found.shapes.append(Shape(cells["class"], point=point, ignored=doubtful))
    yield from photos.values()


def _photo_suffixes() -> list[str]:
    return sorted({*PHOTO_SUFFIXES, *(suffix.upper() for suffix in PHOTO_SUFFIXES)})


def _rows(path: Path) -> Rows:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    first = text.partition("\n")[0]
    mark = next((mark for mark in "\t;," if mark in first), None)
    if mark is None:
        return [line.split() for line in text.splitlines() if line.strip()]
    try:
        return [row for row in csv.reader(text.splitlines(), delimiter=mark) if row]
    except csv.Error:  # such as a field of more than 131,072 characters: text of another kind
        return []


def _columns(rows: Rows) -> dict[str, int]:
    """Where x, y, file, class and ignore stand; nothing where this is no list of points."""
    if not rows:
        return {}
    head = [cell.strip().lower() for cell in rows[0]]
    found = {"x": -1, "y": -1, "file": -1, "class": -1, "ignore": -1, "header": 1}
    for at, cell in enumerate(head):
        plain = cell.partition("(")[0].partition("[")[0].strip().removeprefix("centroid ").strip()
        if plain in ("x", "y") and found[plain] < 0:
            found[plain] = at
        elif cell in FILE and found["file"] < 0:
            found["file"] = at
        elif cell in CLASS and found["class"] < 0:
            found["class"] = at
        elif cell == "ignore":
            found["ignore"] = at
    if found["x"] >= 0 and found["y"] >= 0:
        return found
    try:
        numbers = [float(cell) for cell in head]
    except ValueError:
        return {}
    return {**found, "x": 0, "y": 1, "header": 0} if len(numbers) == 2 else {}
