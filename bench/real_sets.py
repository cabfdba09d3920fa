"""Sets of real photos, in the folders of one parent:

sand/           photos with pellets, whose patches `bench/labels` describes
sand_clean/     sand without plastic
beads/, mpnet/  images/ and masks/, of beads under a microscope and of stained microplastics

`python -m bench.real_sets DATA OUT` writes the beads downsampled, to train on them by fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from bench import patches
from edge.arguments import PathArgument
from edge.errors import EdgeError, error_handler
from edge.files import ensure_empty_directory
from edge.sources.images import image_files, read_image
from edge.visualisation import write_image
from train.data.points import NO_POINTS, PointLabels, read_points
from train.data.samples import Sample, find_samples

BEADS, MPNET, SAND, CLEAN = "beads", "mpnet", "sand", "sand_clean"
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


def labelled_patches(data: Path) -> tuple[list[Window], list[PointLabels]]:
    """The patches of `bench.patches` in their photos, and the pellets in each.

    Raises:
        EdgeError: a photo is missing, damaged or smaller than the labelled one.
    """
    photos: dict[str, NDArray[np.uint8]] = {}
    windows = []
    for patch in patches.read_patches():
        path = data / SAND / patch.photo
        if patch.photo not in photos:
            photos[patch.photo] = read_image(path)
        photo = photos[patch.photo]
        patch.check_inside(photo, path)
        windows.append(Window(patch.file, photo, patch.top, patch.left, patch.size, patch.size))
    points = read_points(patches.LABELS / "pellets.csv")
    return windows, [points.get(window.name, NO_POINTS) for window in windows]


def masked(data: Path, name: str) -> list[Sample]:
    """Photos and masks of the set, those of the beads downsampled.

    Raises:
        EdgeError: the folder is missing or empty, or a photo is damaged.
    """
    photos = (pair.load() for pair in find_samples(_folder(data, name)))
    return [shrunk(photo, BEADS_SHRINK) if name == BEADS else photo for photo in photos]


def clean(data: Path) -> list[Window]:
    """Photos without particles.

    Raises:
        EdgeError: the folder is missing or empty, or a photo is damaged.
    """
    folder = _folder(data, CLEAN)
    files = image_files(folder)
    if not files:
        raise EdgeError(f"{folder}: holds no images")
    return [whole(path.stem, read_image(path)) for path in files]


def _folder(data: Path, name: str) -> Path:
    if not (data / name).is_dir():
        raise EdgeError(f"{data / name}: no such folder")
    return data / name


def shrunk(photo: Sample, factor: int) -> Sample:
    """Averages over squares of `factor` px; particle where at least half of a square is.

    What is left over at the right and below is dropped.
    """
    height, width = (side // factor for side in photo.size_hw)

    def averaged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        whole_squares = image[: height * factor, : width * factor]
        small = cv2.resize(whole_squares, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)

    mask = np.asarray(averaged(photo.mask * np.uint8(255)) >= 128, np.uint8)
    return Sample(photo.name, averaged(photo.image), mask)


def write_beads(data: Path, out: Path) -> None:
    """Write the downsampled beads as images/ and masks/, to train on them by fold.

    Raises:
        BadArgumentError: `out` is not empty.
        EdgeError: as `masked`.
        OSError: a file cannot be written.
    """
    photos = masked(data, BEADS)
    ensure_empty_directory(out)
    for photo in photos:
        for kind, image in (
            ("images", cv2.cvtColor(photo.image, cv2.COLOR_RGB2BGR)),
            ("masks", photo.mask * np.uint8(255)),
        ):
            (out / kind).mkdir(exist_ok=True)
            write_image(out / kind / f"{photo.name}.png", np.asarray(image, np.uint8))


@click.command()
@click.argument("data", type=PathArgument(file_okay=False))
@click.argument("out", type=PathArgument(file_okay=False))
def main(data: Path, out: Path) -> None:
    """Write the beads of DATA, downsampled by 6, into the new folder OUT, for 'train crossval'."""
    with error_handler():
        write_beads(data, out)
        click.echo(out)


if __name__ == "__main__":
    main()
