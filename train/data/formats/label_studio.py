"""Label Studio's JSON: a list of tasks with polygons, brushes, ellipses and key points."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.files import read_json
from train.data.formats.labels import BOX, NO_RING, PhotoLabels, Shape, Skipped, files_in, ring
from train.data.outline import ellipse

NAME = "Label Studio"
# What the server puts before the name of an uploaded file.
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")


def find(source: Path) -> list[Path]:
    """The JSON files of this kind."""
    return [path for path in files_in(source, ".json") if _is_export(path)]


def _is_export(path: Path) -> bool:
    content = read_json(path)
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and ("data" in first or "annotator" in first)


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The labels of every task: of its last annotation that was not cancelled.

    Raises:
        EdgeError: a file is the short JSON-MIN, or a task has no image.
    """
    for path in files:
        for task in read_json(path):
            if "data" not in task:
                raise EdgeError(f"{path}: is JSON-MIN; in Label Studio export as JSON")
            names = _names(task)
            if not names:
                raise EdgeError(f"{path}: task {task.get('id')} has no image")
            done = [a for a in task.get("annotations", ()) if not a.get("was_cancelled")]
            if not done:
                skipped.add("is not labelled yet", names[-1])
                continue
            if len(done) > 1:
                skipped.add("has several annotations, of which the last one was read", names[-1])
            yield _photo(names, done[-1].get("result", ()), skipped)


def _names(task: dict[str, Any]) -> tuple[str, ...]:
    """What the photo may be called: with and without the prefix of an upload."""
    places = [v for v in task["data"].values() if isinstance(v, str)]
    places.append(str(task.get("file_upload") or ""))
    for place in places:
        url = urlparse(place)
        # /data/local-files/?d=folder/a.jpg
        name = unquote(parse_qs(url.query).get("d", [url.path])[0])
        last = PurePosixPath(name).name
        if "." in last:
            return (name, str(PurePosixPath(name).with_name(_UPLOAD.sub("", last))))
    return ()


def _photo(names: tuple[str, ...], results: Any, skipped: Skipped) -> PhotoLabels:
    found = PhotoLabels(names)
    for result in results:
        kind, value = str(result.get("type", "")), result.get("value", {})
        try:
            width, height = int(result["original_width"]), int(result["original_height"])
        except (KeyError, TypeError, ValueError):
            continue  # a relation, or a choice about the whole photo
        found.size_hw = height, width
        if result.get("image_rotation"):
            skipped.add("was turned in Label Studio; turn it back there", names[-1])
            continue
        if kind.startswith("rectangle"):
            skipped.add(BOX, names[-1])
            continue
        try:
            shape = _shape(kind, value, width, height)
        except (KeyError, TypeError, ValueError, IndexError):
            shape = None
        if shape is None:
            skipped.add(NO_RING, names[-1])
        elif shape is not _NONE:
            found.shapes.append(shape)
    return found


_NONE = Shape()


def _shape(kind: str, value: dict[str, Any], width: int, height: int) -> Shape | None:
    label = next((str(v[0]) for k, v in value.items() if k.endswith("labels") and v), "")
    scale = np.array([width, height]) / 100
    match re.sub("labels$", "", kind):
        case "polygon" | "vector":
            outline = ring(value["points"])
            return None if outline is None else Shape(label, (outline * scale,))
        case "ellipse":
            x, y = np.array([value["x"], value["y"]]) * scale
            rx, ry = np.array([value["radiusX"], value["radiusY"]]) * scale
            return Shape(label, (ellipse(x, y, rx, ry, value.get("rotation", 0)),))
        case "keypoint":
            x, y = np.array([value["x"], value["y"]], np.float64) * scale
            return Shape(label, point=(float(x), float(y)))
        case "brush":
            # RGBA, of which alpha is the mask.
            pixels = decode_rle(value["rle"]).reshape(height, width, 4)[..., 3]
            return Shape(label, mask=pixels > 0)
    return _NONE


def decode_rle(code: list[int]) -> NDArray[np.uint8]:
    """The values of a brush.

    A stream of bits: 32 for the number of values, 5 for the bits of a value less one, four times 4
    for the bits of a length less one; then for each run one bit (whether one value is repeated), 2
    (which length), the length less one, and the value or values.
    """
    bits = np.unpackbits(np.array(code, np.uint8))
    at = 0

    def take(count: int, of: int = 1) -> NDArray[np.int64]:
        nonlocal at
        part = bits[at : at + count * of].reshape(of, count).astype(np.int64)
        at += count * of
        return part @ (1 << np.arange(count - 1, -1, -1, dtype=np.int64))

    (total,), (word,) = take(32), take(5)
    sizes = take(4, 4) + 1
    values = np.zeros(int(total), np.uint8)
    place = 0
    while place < total:
        repeated = bool(take(1)[0])
        length = int(take(int(sizes[take(2)[0]]))[0]) + 1
        values[place : place + length] = take(int(word) + 1, 1 if repeated else length)
        place += length
    return values
