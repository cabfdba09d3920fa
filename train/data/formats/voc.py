"""Pascal VOC masks: JPEGImages/, SegmentationObject/ and SegmentationClass/."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.sources.exif import file_orientation, upright
from edge.sources.images import image_data, nested_image_files, read_image
from train.data.formats.labels import PhotoLabels, Shape, Skipped
from train.data.mask import IGNORED, Mask, read_mask

NAME = "Pascal VOC masks"
CLASS, OBJECT, PHOTOS = "SegmentationClass", "SegmentationObject", "JPEGImages"


def find(source: Path) -> list[Path]:
    """The folder itself, or the one inside it that holds the masks."""
    if not source.is_dir():
        return []
    return sorted({p.parent for name in (CLASS, OBJECT) for p in source.rglob(name) if p.is_dir()})


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The objects of each photo that has a mask.

    Where there is no SegmentationObject/, what is connected and of one class is an object.
    """
    for folder in files:
        names = _names(folder)
        for photo in nested_image_files(folder / PHOTOS):
            classes, objects = (
                next((folder / name).glob(f"{glob.escape(photo.stem)}.*"), None)
                for name in (CLASS, OBJECT)
            )
            path = objects or classes
            if path is None:
                continue
            try:
                shape = read_image(photo).shape[:2]
                turn = file_orientation(photo)
                mask = read_mask(path, shape, turn)
                colours = _colours(classes) if classes else None
                if colours is not None and colours.shape != shape:
                    colours = np.asarray(upright(colours, turn), np.int32)
            except EdgeError as error:
                skipped.add(str(error), photo.name)
                continue
            found = PhotoLabels((str(photo),), size_hw=(shape[0], shape[1]))
            found.shapes += _shapes(mask, colours, names)
            yield found


def _colours(path: Path) -> NDArray[np.int32] | None:
    """0xRRGGBB (H,W) of a mask in colours."""
    image = cv2.imdecode(np.frombuffer(image_data(path), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    blue, green, red = np.moveaxis(np.asarray(image).astype(np.int32), 2, 0)
    return np.asarray(red << 16 | green << 8 | blue, np.int32)


def _shapes(
    mask: Mask, colours: NDArray[np.int32] | None, names: dict[int, str]
) -> Iterator[Shape]:
    objects = mask.objects
    if objects is None:
        particle = (mask.pixels == 1).astype(np.uint8)
        objects = np.asarray(cv2.connectedComponents(particle)[1], np.int32)
    for number, (top, bottom, left, right) in boxes(objects).items():
        box = np.s_[top:bottom, left:right]
        pixels = objects[box] == number
        label = ""
        if colours is not None:
            found, counts = np.unique(colours[box][pixels], return_counts=True)
            colour = int(found[counts.argmax()])
            label = names.get(colour, f"#{colour:06x}")
        yield Shape(label, mask=pixels, corner=(left, top))
    void = mask.pixels == IGNORED
    if void.any():
        yield Shape(mask=void, ignored=True)


def boxes(objects: NDArray[np.int32]) -> dict[int, tuple[int, int, int, int]]:
    """(top, bottom, left, right) of each number above 0 of an image (H,W), the ends excluded."""
    rows, columns = np.nonzero(objects)
    numbers = objects[rows, columns]
    order = np.argsort(numbers, kind="stable")
    found = {}
    for part in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
        if len(part):
            r, c = rows[part], columns[part]
            found[int(numbers[part[0]])] = (
                int(r.min()), int(r.max()) + 1, int(c.min()), int(c.max()) + 1,
            )  # fmt: skip
    return found


def _names(folder: Path) -> dict[int, str]:
    """Classes by colour, of the lines name:r,g,b:parts:actions of labelmap.txt, as CVAT and
    Datumaro write it."""
    places = (folder / "labelmap.txt", folder.parent / "labelmap.txt")
    path = next((place for place in places if place.is_file()), None)
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    found = {}
    for number, line in enumerate(line for line in lines if not line.startswith("#")):
        name, _, rest = line.partition(":")
        parts = rest.split(":")[0].split(",")
        if len(parts) == 3 and all(part.strip().isdigit() for part in parts):
            red, green, blue = map(int, parts)
            found[red << 16 | green << 8 | blue] = name
        else:
            found[_palette(number)] = name
    return found


def _palette(number: int) -> int:
    """0xRRGGBB of a class in VOC's palette: its bits by threes, the lowest to the highest bits."""
    colour = 0
    for place in range(8):
        for channel in range(3):
            bit = number >> 3 * place + channel & 1
            colour |= bit << 7 - place + 8 * (2 - channel)
    return colour
