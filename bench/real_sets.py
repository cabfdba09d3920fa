"""Sets of real photos, in the folders of one parent:

sand/           photos with pellets, whose patches `bench/labels` describes
sand_clean/     sand without plastic
beads/, mpnet/  images/ and masks/, of beads under a microscope and of stained microplastics
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.objects import TruePoints
from edge.errors import ToolError
from edge.sources.images import image_files, read_image
from train.data.photos import Photo, find_pairs
from train.metrics import Counts

BEADS, MPNET, SAND, CLEAN = "beads", "mpnet", "sand", "sand_clean"
LABELS = Path(__file__).parent / "labels"
# As many photo pixels a side become one: beads of 47 px become 7.8 px wide.
BEADS_SHRINK = 6


@dataclass(frozen=True)
class Window:
    """A part of a photo (H,W,3) uint8 RGB that is scored; what is around it is only looked at."""

    name: str
    photo: NDArray[np.uint8]
    top: int
    left: int
    height: int
    width: int

    def with_margin(
        self, margin: int, multiple: int
    ) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
        """The part and `margin` px around it, where the photo has them; where in that it lies.

        It begins on a multiple of `multiple`, as a network's pooling does in the whole photo.
        """
        top, left = (max(0, at - margin) // multiple * multiple for at in (self.top, self.left))
        bottom, right = self.top + self.height, self.left + self.width
        inside = slice(self.top - top, bottom - top), slice(self.left - left, right - left)
        around = self.photo[top : bottom + margin, left : right + margin]
        return np.ascontiguousarray(around), inside


def whole(name: str, photo: NDArray[np.uint8]) -> Window:
    """All of a photo."""
    return Window(name, photo, 0, 0, *photo.shape[:2])


def patches(
    data: Path, labels: Path, tolerance: int
) -> tuple[list[Window], list[Callable[[NDArray[np.uint8]], Counts]]]:
    """The labelled patches, and what counts the objects of a mask of each.

    Raises:
        ToolError: a photo or a label is missing or damaged.
    """
    photos: dict[str, NDArray[np.uint8]] = {}
    windows: list[Window] = []
    counters: list[Callable[[NDArray[np.uint8]], Counts]] = []
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    ignored: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in _rows(labels / "pellets.csv"):
        kind = ignored if row["ignore"] == "1" else points
        kind[row["file"]].append((float(row["x"]), float(row["y"])))
    for row in _rows(labels / "patches.csv"):
        name = row["photo"]
        if name not in photos:
            photos[name] = read_image(data / SAND / name)
        size = int(row["size"])
        window = Window(row["file"], photos[name], int(row["top"]), int(row["left"]), size, size)
        windows.append(window)
        counters.append(TruePoints(points[window.name], ignored[window.name], tolerance).counts)
    return windows, counters


def masked(data: Path, name: str) -> list[Photo]:
    """Photos and masks of the set, those of the beads downsampled.

    Raises:
        ToolError: the folder is missing or empty, or a photo is damaged.
    """
    photos = (pair.load() for pair in find_pairs(_folder(data, name)))
    return [shrunk(photo, BEADS_SHRINK) if name == BEADS else photo for photo in photos]


def clean(data: Path) -> list[Window]:
    """Photos without particles.

    Raises:
        ToolError: the folder is missing or empty, or a photo is damaged.
    """
    folder = _folder(data, CLEAN)
    files = image_files(folder)
    if not files:
        raise ToolError(f"{folder}: holds no images")
    return [whole(path.stem, read_image(path)) for path in files]


def _folder(data: Path, name: str) -> Path:
    if not (data / name).is_dir():
        raise ToolError(f"{data / name}: no such folder")
    return data / name


def shrunk(photo: Photo, factor: int) -> Photo:
    """Averages over squares of `factor` px; particle where at least half of a square is.

    What is left over at the right and below is dropped.
    """
    height, width = (side // factor for side in photo.size_hw)

    def averaged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        whole_squares = image[: height * factor, : width * factor]
        small = cv2.resize(whole_squares, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)

    mask = np.asarray(averaged(photo.mask * np.uint8(255)) >= 128, np.uint8)
    return Photo(photo.name, averaged(photo.image), mask)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
