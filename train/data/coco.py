"""COCO instance annotations as masks; an annotation is an object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.files import read_json
from edge.sources.exif import UPRIGHT, upright
from train.data.mask import Mask
from train.data.outline import Canvas, decode_runs


@dataclass(frozen=True)
class Entry:
    """What a COCO `file` says of one photo: its file name, (H,W) and annotations."""

    file: Path
    photo: str
    shape: tuple[int, int]
    annotations: list[dict[str, Any]]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}: {self.photo}"

    def draw(self, shape: tuple[int, ...], turn: int = UPRIGHT) -> Mask:
        """The mask of a photo of `shape`, upright.

        Args:
            turn: the EXIF orientation of the photo; annotations of its pixels as stored are turned
                alike.

        Raises:
            EdgeError: the file gives another shape, or an annotation cannot be drawn.
        """
        stored = shape[::-1] if turn > 4 else shape
        turned = self.shape != shape and self.shape == stored
        if self.shape != shape and not turned:
            raise EdgeError(
                f"{self} is {self.shape[1]}x{self.shape[0]} px, its photo {shape[1]}x{shape[0]}"
            )
        canvas = Canvas(self.shape)
        for annotation in self.annotations:
            where = f"{self}, annotation {annotation.get('id')}"
            segmentation = annotation.get("segmentation")
            if not segmentation:
                raise EdgeError(f"{where} has no segmentation; a box alone is no mask")
            if isinstance(segmentation, dict):
                canvas.draw(runs=runs_of(segmentation, self.shape, where))
            else:
                canvas.draw(rings_of(segmentation, self.shape, where))
        objects = canvas.objects
        if turned:
            objects = np.asarray(upright(objects, turn), np.int32)
        return Mask((objects > 0).astype(np.uint8), objects, self.notes)


def runs_of(segmentation: dict[str, Any], shape: tuple[int, int], where: str) -> list[int]:
    """The runs of a run-length code, column by column.

    Not by pycocotools: where the runs end too early it leaves the rest as the memory was.
    """
    height, width = shape
    try:
        counts = segmentation["counts"]
        runs = decode_runs(counts) if isinstance(counts, str) else [int(count) for count in counts]
        whole = segmentation["size"] == [height, width] and sum(runs) == height * width
    except (KeyError, TypeError, ValueError, OverflowError):
        whole = False
    if not whole or min(runs) < 0:
        raise EdgeError(f"{where} has a run-length code that is not one of {width}x{height} px")
    return runs


def rings_of(segmentation: Any, shape: tuple[int, int], where: str) -> list[NDArray[np.float64]]:
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
    return [points.reshape(-1, 2) for points in polygons]


def read_coco(path: Path, classes: Sequence[str] = ()) -> dict[str, Entry]:
    """The entry of each photo, by its file name as the file gives it, with slashes.

    Args:
        classes: names of the categories that count.  [default: all]

    Raises:
        EdgeError: the file is no JSON or no COCO, names a photo twice, annotates one that it does
            not list, or has no category of a name in `classes`.
        OSError: it cannot be read.
    """
    content = read_json(path)
    annotations: dict[object, list[dict[str, Any]]] = defaultdict(list)
    entries: dict[str, Entry] = {}
    try:
        names = {c["id"]: str(c["name"]) for c in content.get("categories", ())}
        used = {names.get(a.get("category_id"), "") for a in content["annotations"]}
        check_classes(classes, set(names.values()), path)
        for annotation in content["annotations"]:
            if not classes or names.get(annotation.get("category_id")) in classes:
                annotations[annotation["image_id"]].append(annotation)
        notes = () if classes else several_classes(used)
        for image in content["images"]:
            # Tools write images/a.jpg and images\a.jpg as well as a.jpg.
            name = image["file_name"].replace("\\", "/")
            if name in entries:
                raise EdgeError(f"{path}: lists {name} twice; keep one")
            shape = int(image["height"]), int(image["width"])
            entries[name] = Entry(path, name, shape, annotations.pop(image["id"], []), notes)
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


def check_classes(classes: Sequence[str], there: Collection[str], path: Path) -> None:
    """Raises EdgeError where one of `classes` is not `there`."""
    for name in classes:
        if name not in there:
            raise EdgeError(
                f"{path}: has no class {name}; its classes are {', '.join(sorted(there))}"
            )


def several_classes(used: Collection[str]) -> tuple[str, ...]:
    """A note on labels of several classes, all of which count."""
    named = sorted(name for name in used if name)
    if len(named) < 2:
        return ()
    return (f"all classes count as particle: {', '.join(named)}; --classes chooses",)
