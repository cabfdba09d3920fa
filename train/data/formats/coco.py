"""COCO: polygons, run-length codes and key points in one JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.errors import EdgeError
from edge.files import read_json
from train.data.coco import Entry, read_coco, rings_of, runs_of
from train.data.formats.labels import BOX, PhotoLabels, Shape, Skipped, files_in

NAME = "COCO"


def find(source: Path) -> list[Path]:
    """The JSON files of this kind."""
    return [path for path in files_in(source, ".json") if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    content = read_json(path)
    return isinstance(content, dict) and {"images", "annotations"} <= set(content)


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The labels of each photo; annotations without an outline are skipped, and named.

    Raises:
        EdgeError: as `read_coco`.
    """
    for path in files:
        content = read_json(path)
        names = {c.get("id"): str(c.get("name", "")) for c in content.get("categories", ())}
        for entry in read_coco(path).values():
            found = PhotoLabels((entry.photo,), size_hw=entry.shape)
            for annotation in entry.annotations:
                label = names.get(annotation.get("category_id"), "")
                found.shapes += _shapes(entry, annotation, label, skipped)
            yield found


def _shapes(
    entry: Entry, annotation: dict[str, object], label: str, skipped: Skipped
) -> Iterator[Shape]:
    segmentation, keypoints = annotation.get("segmentation"), annotation.get("keypoints")
    where = f"annotation {annotation.get('id')}"
    try:
        if isinstance(segmentation, dict) and segmentation:
            yield Shape(label, runs=tuple(runs_of(segmentation, entry.shape, where)))
        elif segmentation:
            yield Shape(label, rings=tuple(rings_of(segmentation, entry.shape, where)))
        elif isinstance(keypoints, list) and keypoints:
            for x, y, visibility in np.reshape(keypoints, (-1, 3)).tolist():
                if visibility:
                    # Of pixels' centres, as in POINTS.json.
                    yield Shape(label, point=(x + 0.5, y + 0.5), ignored=visibility == 1)
        else:
            skipped.add(BOX, entry.photo)
    except EdgeError as error:
        skipped.add(str(error), entry.photo)
    except (TypeError, ValueError):
        skipped.add("key points that are not x1, y1, v1, x2, y2, v2...", entry.photo)
