"""Calibration data: crops to calibrate on and to evaluate on, from photos or rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge.errors import EdgeError
from edge.sources.images import image_files, read_image
from train.data.samples import ROBOFLOW, Sample, scan
from train.data.synth import composited, scene

T = TypeVar("T")

# A crop's longer side at most, px, and how many there are of either kind.
SIDE = 256
CROPS = 32
RENDERED_PARTICLES = 12


@dataclass(frozen=True)
class CalibrationData:
    """Crops with masks to calibrate on and to evaluate on; no photo gives crops to both.

    Attributes:
        label_source: where the masks of `held_out` come from.
        skipped: a sentence on each file that could not be used.
    """

    calibration: Sequence[Sample]
    held_out: Sequence[Sample]
    label_source: str
    skipped: list[str] = field(default_factory=list)


def rendered() -> CalibrationData:
    """Rendered scenes to evaluate on; nothing to calibrate on."""
    rng = np.random.default_rng(0)
    crops: list[Sample] = []
    while len(crops) < CROPS:
        made = scene(rng, SIDE, SIDE, particles=RENDERED_PARTICLES)
        # On some sand no particle would stand out.
        if made.mask.any():
            crops.append(Sample(f"scene {len(crops)}", made.image, made.mask // 255))
    return CalibrationData([], crops, "rendered scenes")


def from_folder(folder: Path, multiple: int) -> CalibrationData:
    """Crops of the photos in `folder`, every other photo held out.

    A folder as `train` reads it (images/ with masks/ or a COCO file) brings its own masks, and its
    crops lie around particles. Photos without masks get rendered particles where they are held out.

    Args:
        multiple: the sides of a crop are multiples of this, px.

    Raises:
        EdgeError: there are fewer than two readable photos, or they are too small.
    """
    if not folder.is_dir():
        raise EdgeError(f"{folder}: no such folder; it must hold photos")
    labelled = (folder / "images").is_dir() or (folder / ROBOFLOW).is_file()
    loaders: list[Callable[[], Sample]]
    skipped: list[str] = []
    if labelled:
        pairs, skipped = scan(folder)
        loaders = [pair.load for pair in pairs]
    else:
        loaders = [_unlabelled(path) for path in image_files(folder)]
    crops: tuple[list[Sample], list[Sample]] = ([], [])
    # Crops of the second kind lie in other photos than those of the first.
    kept = _evenly(loaders, 2 * CROPS)
    crops_per_photo = -(-2 * CROPS // max(len(kept), 1))
    rng = np.random.default_rng(0)
    used = 0
    for load in kept:
        try:
            photo = load()
        except EdgeError as error:
            skipped.append(str(error))
            continue
        crops[used % 2].extend(_crop(rng, photo, multiple) for _ in range(crops_per_photo))
        used += 1
    if used < 2:
        reason = f" ({skipped[0]})" if skipped else ""
        raise EdgeError(
            f"{folder}: holds {used} readable photo(s){reason}; at least 2 are needed, one to "
            f"calibrate on and one to evaluate on"
        )
    calibration, held_out = (kind[:CROPS] for kind in crops)
    if labelled:
        return CalibrationData(calibration, held_out, f"the masks of {folder.name}", skipped)
    composited_crops = [_composited(rng, photo) for photo in held_out]
    return CalibrationData(
        calibration, composited_crops, f"particles rendered on photos of {folder.name}", skipped
    )


def padded(crop: Sample, size_hw: tuple[int, int]) -> Sample:
    """A crop as large as `size_hw`, px: cut, or its last pixels repeated, without particles."""
    height, width = size_hw
    image, mask = crop.image[:height, :width], crop.mask[:height, :width]
    missing = ((0, height - image.shape[0]), (0, width - image.shape[1]))
    return Sample(crop.name, np.pad(image, (*missing, (0, 0)), "edge"), np.pad(mask, missing))


def _unlabelled(path: Path) -> Callable[[], Sample]:
    def load() -> Sample:
        image = read_image(path)
        return Sample(path.stem, image, np.zeros(image.shape[:2], np.uint8))

    return load


def _evenly(items: Sequence[T], count: int) -> list[T]:
    return (
        [items[i * len(items) // count] for i in range(count)] if len(items) > count else [*items]
    )


def _crop(rng: np.random.Generator, photo: Sample, multiple: int) -> Sample:
    """One crop at random, around a particle where the photo has any."""
    places = np.argwhere(photo.mask)
    middle = places[rng.integers(len(places))] if len(places) else None
    window = []
    for axis, size in enumerate(photo.mask.shape):
        side = min(SIDE, size) // multiple * multiple
        if not side:
            raise EdgeError(
                f"{photo.name}: a photo of {size} px is too small, less than {multiple}"
            )
        start = rng.integers(size - side + 1) if middle is None else middle[axis] - side // 2
        start = int(np.clip(start, 0, size - side))
        window.append(slice(start, start + side))
    rows, columns = window
    return Sample(photo.name, photo.image[rows, columns], photo.mask[rows, columns])


def _composited(rng: np.random.Generator, photo: Sample) -> Sample:
    made = composited(rng, photo.image, RENDERED_PARTICLES)
    return Sample(photo.name, made.image, made.mask // 255)
