"""COCO instance annotations as masks; every category counts as particle.

pycocotools is imported here only.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from edge.errors import EdgeError
from edge.files import read_json


@dataclass(frozen=True)
class Entry:
    """What a COCO `file` says of one photo: its file name, (H,W) and annotations."""

    file: Path
    photo: str
    shape: tuple[int, int]
    annotations: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.file}: {self.photo}"

    def draw(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The mask (H,W) of a photo of `shape`, 1 where any annotation is.

        Raises:
            EdgeError: the file gives another shape, or an annotation cannot be drawn.
        """
        if shape != self.shape:
            raise EdgeError(
                f"{self} is {self.shape[1]}x{self.shape[0]} px, its photo {shape[1]}x{shape[0]}"
            )
        mask = np.zeros(self.shape, np.uint8)
        polygons: list[list[float]] = []
        for annotation in self.annotations:
            where = f"{self}, annotation {annotation.get('id')}"
            segmentation = annotation.get("segmentation")
            if not segmentation:
                raise EdgeError(f"{where} has no segmentation; a box alone is no mask")
            if isinstance(segmentation, dict):
                mask |= _decoded(segmentation, self.shape, where)
            else:
                polygons += _checked(segmentation, self.shape, where)
        if polygons:
            mask |= coco.decode(coco.merge(coco.frPyObjects(polygons, *self.shape)))
        return mask


def _decoded(segmentation: dict[str, Any], shape: tuple[int, int], where: str) -> NDArray[np.uint8]:
    """The mask (H,W) of a run-length code: alternating runs of 0 and 1, column by column.

    Not by pycocotools: where the runs end too early it leaves the rest as the memory was.
    """
    height, width = shape
    try:
        counts = segmentation["counts"]
        runs = _runs(counts) if isinstance(counts, str) else [int(count) for count in counts]
        whole = segmentation["size"] == [height, width] and sum(runs) == height * width
    except (KeyError, TypeError, ValueError, OverflowError):
        whole = False
    if not whole or min(runs) < 0:
        raise EdgeError(f"{where} has a run-length code that is not one of {width}x{height} px")
    values = np.arange(len(runs)) % 2
    return np.repeat(values.astype(np.uint8), runs).reshape(width, height).T


def _runs(code: str) -> list[int]:
    """Compressed counts: 5 bits a character, the lowest first, in two's complement.

    From the fourth on each is the difference to the last but one.
    """
    runs: list[int] = []
    value = bits = 0
    for character in code.encode("ascii"):
        digit = character - 48
        value |= (digit & 31) << bits
        bits += 5
        if not digit & 32:  # the last character of this count
            if digit & 16:
                value -= 1 << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs


def _checked(segmentation: Any, shape: tuple[int, int], where: str) -> list[list[float]]:
    """Polygons that pycocotools can take: it crashes on some others, or draws their box."""
    try:
        polygons = [np.asarray(points, np.float64) for points in segmentation]
    except (TypeError, ValueError):
        polygons = [np.empty(0)]
    for points in polygons:
        drawable = points.ndim == 1 and points.size >= 6 and points.size % 2 == 0
        # False for NaN too.
        if not (drawable and np.all(np.abs(points) <= 2 * max(shape))):
            raise EdgeError(
                f"{where} has a polygon that is not x1, y1, x2, y2, x3, y3... on the photo"
            )
    return [points.tolist() for points in polygons]


def read_coco(path: Path) -> dict[str, Entry]:
    """The entry of each photo, by the last part of its file name.

    Raises:
        EdgeError: the file is no JSON or no COCO, names a photo twice, or annotates one that it
            does not list.
        OSError: it cannot be read.
    """
    content = read_json(path)
    annotations: dict[object, list[dict[str, Any]]] = defaultdict(list)
    entries: dict[str, Entry] = {}
    try:
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        for image in content["images"]:
            # Tools write images/a.jpg and images\a.jpg as well as a.jpg.
            name = PurePosixPath(image["file_name"].replace("\\", "/")).name
            if name in entries:
                raise EdgeError(f"{path}: lists {name} twice; keep one")
            shape = int(image["height"]), int(image["width"])
            entries[name] = Entry(path, name, shape, annotations.pop(image["id"], []))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EdgeError(
            f"{path}: not COCO annotations; these have 'images' (with id, file_name, height and "
            f"width) and 'annotations' (with image_id)"
        ) from error
    for image_id, orphans in annotations.items():
        raise EdgeError(
            f"{path}: annotation {orphans[0].get('id')} is of image {image_id!r}, "
            f"which is not in 'images'"
        )
    return entries
