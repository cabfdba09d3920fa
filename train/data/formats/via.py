"""VGG Image Annotator: JSON of regions, as annotations or as a project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

NAME = "VIA"


def find(source: Path) -> list[Path]:
    """The JSON files of this kind."""
    return [path for path in files_in(source, ".json") if _entries(path)]


def _entries(path: Path) -> list[dict[str, Any]]:
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
        entries = list(content.values()) if isinstance(content, dict) else []
        if entries and all(
            isinstance(e, dict) and {"filename", "regions"} <= set(e) for e in entries
        ):
            return entries
    return []


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The labels of each photo."""
    for path in files:
        for entry in _entries(path):
            found = PhotoLabels((str(entry["filename"]),))
            regions = entry["regions"]
            for region in regions.values() if isinstance(regions, dict) else regions:
                shape = _shape(region, skipped, found.names[0])
                if shape:
                    found.shapes.append(shape)
            yield found


def _shape(region: dict[str, Any], skipped: Skipped, name: str) -> Shape | None:
    # One class: the first attribute that is text.
    attributes = region.get("region_attributes") or {}
    label = next((v for v in attributes.values() if isinstance(v, str)), "")
    shape = region.get("shape_attributes") or {}
    try:
        match shape.get("name"):
            case "polygon":
                pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
                outline = ring(np.array(list(pairs)))
                if outline is not None:
                    return Shape(label, (outline,))
            case "circle":
                r = float(shape["r"])
                return Shape(label, (ellipse(float(shape["cx"]), float(shape["cy"]), r, r),))
            case "ellipse":
                x, y, rx, ry = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
                turn = float(np.rad2deg(shape.get("theta", 0)))
                return Shape(label, (ellipse(x, y, rx, ry, turn),))
            case "point":
                return Shape(label, point=(float(shape["cx"]), float(shape["cy"])))
            case "rect":
                skipped.add(BOX, name)
                return None
            case "polyline" | "line":
                skipped.add(LINE, name)
                return None
    except (KeyError, TypeError, ValueError):
        pass
    skipped.add(NO_RING, name)
    return None
