"""LabelMe: a JSON file beside each photo."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.files import read_json
from train.data.formats.labels import (
    BOX,
    LINE,
    NO_RING,
    PhotoLabels,
    Shape,
    Skipped,
    files_in,
    ring,
)
from train.data.outline import ellipse

NAME = "LabelMe"


def find(source: Path) -> list[Path]:
    """The JSON files of this kind."""
    return [path for path in files_in(source, ".json") if _is_labelme(path)]


def _is_labelme(path: Path) -> bool:
    content = read_json(path)
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The labels of each file; shapes of one group are one object."""
    for path in files:
        content = read_json(path)
        name = str(content["imagePath"]).replace("\\", "/")
        # As LabelMe does it, relative to the JSON file.
        found = PhotoLabels((str((path.parent / name).absolute()), name))
        height, width = content.get("imageHeight"), content.get("imageWidth")
        if isinstance(height, int) and isinstance(width, int):
            found.size_hw = height, width
        groups: dict[Any, list[Shape]] = {}
        for number, raw in enumerate(content["shapes"]):
            kind = raw.get("shape_type") or "polygon"
            if kind in ("rectangle", "oriented_rectangle"):
                skipped.add(BOX, name)
                continue
            if kind in ("line", "linestrip"):
                skipped.add(LINE, name)
                continue
            try:
                shapes = _shapes(kind, raw)
            except (KeyError, TypeError, ValueError, IndexError, binascii.Error, cv2.error):
                shapes = []
            if not shapes:
                skipped.add(NO_RING, name)
            group = raw.get("group_id")
            groups.setdefault(f"single {number}" if group is None else group, []).extend(shapes)
        for shapes in groups.values():
            rings = tuple(ring for shape in shapes for ring in shape.rings)
            if rings:
                found.shapes.append(Shape(shapes[0].label, rings))
            found.shapes += [shape for shape in shapes if not shape.rings]
        yield found


def _shapes(kind: str, raw: dict[str, Any]) -> list[Shape]:
    label, points = str(raw.get("label", "")), np.asarray(raw["points"], np.float64)
    match kind:
        case "polygon":
            outline = ring(points)
            return [] if outline is None else [Shape(label, (outline,))]
        case "circle":  # its centre, and a point on it
            (x, y), (ex, ey) = points.tolist()
            radius = float(np.hypot(ex - x, ey - y))
            return [Shape(label, (ellipse(x, y, radius, radius),))]
        case "point" | "points":
            return [Shape(label, point=(float(x), float(y))) for x, y in points]
        case "mask":
            code = np.frombuffer(base64.b64decode(raw["mask"]), np.uint8)
            pixels = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)) > 0
            left, top = np.rint(points[0]).astype(int)
            return [Shape(label, mask=pixels, corner=(int(left), int(top)))]
    return []
