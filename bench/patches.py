"""Cut the labelled patches from the photos: python -m bench.patches PHOTOS OUT."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edge.arguments import PathArgument
from edge.errors import BadArgumentError, EdgeError, error_handler
from edge.sources.images import read_image
from edge.visualisation import write_image

LABELS = Path(__file__).with_name("labels")


@dataclass(frozen=True)
class Patch:
    """A square of a photo; `left`, `top` and `size` in px."""

    file: str
    photo: str
    left: int
    top: int
    size: int

    def check_inside(self, photo: NDArray[np.uint8], path: Path) -> None:
        """Raises EdgeError where the photo (H,W,3) at `path` does not hold all of the patch."""
        height, width = photo.shape[:2]
        if self.left + self.size > width or self.top + self.size > height:
            raise EdgeError(
                f"{path}: {width}x{height} px is smaller than the labelled photo; "
                "use the original, not a resized copy"
            )


def read_patches() -> list[Patch]:
    """The patches of `labels/patches.csv`, in its order."""
    with (LABELS / "patches.csv").open(encoding="utf-8", newline="") as lines:
        return [
            Patch(row["file"], row["photo"], int(row["left"]), int(row["top"]), int(row["size"]))
            for row in csv.DictReader(lines)
        ]


def cut_patches(photos: Path, out: Path) -> list[Path]:
    """Write every patch as a PNG (size,size,3) into `out`; an earlier one is replaced.

    Raises:
        BadArgumentError: `photos` lacks a photo; nothing is written.
        EdgeError: a photo cannot be read, or is smaller than the one that was labelled.
        OSError: `out` cannot be written.
    """
    patches = read_patches()
    names = sorted({patch.photo for patch in patches})
    for name in names:
        if not (photos / name).is_file():
            raise BadArgumentError(
                f"{photos}: has no {name}; bench/labels/README.md says where it comes from"
            )
    images = {name: read_image(photos / name) for name in names}
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for patch in patches:
        image = images[patch.photo]
        patch.check_inside(image, photos / patch.photo)
        cut = image[patch.top : patch.top + patch.size, patch.left : patch.left + patch.size]
        path = out / patch.file
        write_image(path, np.asarray(cv2.cvtColor(cut, cv2.COLOR_RGB2BGR), np.uint8))
        written.append(path)
    return written


@click.command()
@click.argument("photos", type=PathArgument(exists=True, file_okay=False))
@click.argument("out", type=PathArgument(file_okay=False))
def main(photos: Path, out: Path) -> None:
    """Cut the labelled patches from the photos in PHOTOS and write them to OUT as PNG files.

    bench/labels/pellets.csv holds the points of these patches.
    """
    with error_handler():
        written = cut_patches(photos, out)
        click.echo(f"{len(written)} patches written to {out}")


if __name__ == "__main__":
    main()
