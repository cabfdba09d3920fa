"""CVAT for images 1.1: one annotations.xml, with polygons, masks, ellipses and points."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.errors import EdgeError
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

NAME = "CVAT for images"
NOT_READ = {"box": BOX, "polyline": LINE, "cuboid": BOX, "skeleton": "a skeleton is no outline"}


def find(source: Path) -> list[Path]:
    """The XML files of this kind."""
    return [path for path in files_in(source, ".xml") if _is_cvat(path)]


def _is_cvat(path: Path) -> bool:
    head = path.read_bytes()[:4096]
    return b"<annotations" in head


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The labels of every <image>.

    Raises:
        EdgeError: a file is no XML, or of videos.
    """
    for path in files:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise EdgeError(f"{path}: declares entities, which CVAT does not; export it again")
        try:
            root = ET.fromstring(text)
        except ET.ParseError as error:
            raise EdgeError(f"{path}: not XML: {error}; export it again") from None
        images = root.findall("image")
        if root.find("track") is not None and not images:
            raise EdgeError(f"{path}: is of a video; in CVAT export as 'CVAT for images 1.1'")
        for image in images:
            yield _photo(path, image, skipped)


def _photo(path: Path, image: ET.Element, skipped: Skipped) -> PhotoLabels:
    try:
        name = image.attrib["name"]
        size = int(image.attrib["height"]), int(image.attrib["width"])
    except (KeyError, ValueError):
        raise EdgeError(f"{path}: an <image> has no name, width or height") from None
    found = PhotoLabels((name,), size_hw=size)
    # Lower ones first, as CVAT shows them.
    for element in sorted(image, key=lambda e: int(e.get("z_order") or 0)):
        if element.tag in NOT_READ:
            skipped.add(NOT_READ[element.tag], name)
            continue
        try:
            shapes = _shapes(element)
        except (KeyError, ValueError, IndexError):
            shapes = None
        if shapes is None:
            skipped.add(NO_RING, name)
        else:
            found.shapes += shapes
    return found


def _shapes(element: ET.Element) -> list[Shape] | None:
    label = element.get("label", "")
    match element.tag:
        case "polygon":
            outline = ring(_pairs(element))
            return None if outline is None else [Shape(label, (outline,))]
        case "points":
            return [Shape(label, point=(x, y)) for x, y in _pairs(element)]
        case "ellipse":
            x, y, rx, ry = (float(element.attrib[key]) for key in ("cx", "cy", "rx", "ry"))
            turn = float(element.get("rotation") or 0)
            return [Shape(label, (ellipse(x, y, rx, ry, turn),))]
        case "mask":
            left, top, width, height = (
                int(float(element.attrib[key])) for key in ("left", "top", "width", "height")
            )
            runs = [int(run) for run in element.attrib["rle"].split(",")]
            values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
            return [Shape(label, mask=values.reshape(height, width), corner=(left, top))]
    return []  # a tag of the whole photo


def _pairs(element: ET.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in element.attrib["points"].split(";"))
    return [(float(x), float(y)) for x, y in pairs]
