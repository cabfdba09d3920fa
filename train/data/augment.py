"""Augmentation of Section 4.1: shift, rotation and flips of image and mask together.

Uncovered pixels take the mean pixel of all photos: images come in normalised, where that is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import kornia.augmentation as kornia
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.errors import EdgeError
from edge.files import atomic_write
from edge.visualisation import MARKER_BGR
from train.checkpoint import Normalisation
from train.data.crops import Crops, CropSampler
from train.data.samples import Sample

SHIFT, DEGREES = 0.2, 45.0
SAMPLE_ROWS, SAMPLE_COLUMNS = 3, 6
# Of a photo, counted at once.
ROWS = 256


class Augmentation(nn.Module):
    """Random shift up to 20%, rotation up to 45 degrees, and flips; on whatever device."""

    def __init__(self) -> None:
        super().__init__()
        self._warp = kornia.AugmentationSequential(
            kornia.RandomHorizontalFlip(),
            kornia.RandomVerticalFlip(),
            kornia.RandomAffine(DEGREES, (SHIFT, SHIFT), p=1.0, padding_mode="zeros"),
            # The mask, too, as an image: taking the nearest pixel, as kornia does for masks, would
            # now and then lose a particle of one or two.
            data_keys=["input", "input"],
        )

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images float32 (N,3,H,W) and masks (N,1,H,W) of 0 and 1, each moved alike.

        At the edges of particles the moved masks are in between: the fraction of the pixel covered.
        """
        warped, moved = self._warp(image, mask.to(image.dtype))
        return warped, moved


def normalisation_of(samples: Sequence[Sample]) -> Normalisation:
    """Mean and standard deviation of all pixels of the photos."""
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for sample in samples:
        for first in range(0, len(sample.image), ROWS):
            rows = sample.image[first : first + ROWS]
            counts = [
                np.bincount(rows[..., channel].ravel(), minlength=256) for channel in range(3)
            ]
            total += counts @ np.arange(256)
            squares += counts @ np.arange(256) ** 2
            pixels += rows[..., 0].size
    mean = total / pixels
    std = np.sqrt(squares / pixels - mean**2).clip(min=1.0)
    r, g, b = (round(float(v), 3) for v in mean)
    sr, sg, sb = (round(float(v), 3) for v in std)
    return Normalisation((r, g, b), (sr, sg, sb))


def normalised(image: Tensor, normalisation: Normalisation) -> Tensor:
    """float32 (N,3,H,W) of zero mean and unit standard deviation from uint8."""
    shape = (1, 3, 1, 1)
    mean = image.new_tensor(normalisation.mean, dtype=torch.float32).view(shape)
    std = image.new_tensor(normalisation.std, dtype=torch.float32).view(shape)
    return (image.float() - mean) / std


def write_samples(samples: Sequence[Sample], path: Path, *, crop: int, seed: int) -> None:
    """A picture in the manner of Figure 8: a crop in each row, then its augmentations.

    Particles are outlined, so that the mask can be seen to move with the image.

    Raises:
        EdgeError: no photo has a particle.
        OSError: the picture cannot be written.
    """
    if not any((sample.mask == 1).any() for sample in samples):
        raise EdgeError("no photo has a particle, so there is nothing to draw crops around")
    normalisation = normalisation_of(samples)
    crops = Crops(samples, 1, crop, normalisation.mean)
    torch.manual_seed(seed)
    windows = list(CropSampler(crops, seed=seed, foreground=1.0))[:SAMPLE_ROWS]
    augmentation = Augmentation()
    rows = []
    for window in windows:
        raw, mask = (part[None] for part in crops[window])
        image = normalised(raw, normalisation)
        views = [(image, mask), *(augmentation(image, mask) for _ in range(SAMPLE_COLUMNS - 1))]
        rows.append(
            np.hstack([_sample(view, particles, normalisation) for view, particles in views])
        )
    encoded = cv2.imencode(".png", np.vstack(rows))[1]
    with atomic_write(path) as temporary:
        # Unlike ndarray.tofile, this says what is wrong with the disk.
        temporary.write_bytes(encoded.tobytes())


def _sample(image: Tensor, mask: Tensor, normalisation: Normalisation) -> NDArray[np.uint8]:
    """One crop as BGR with its particles outlined and a white frame."""
    std, mean = (np.array(v, np.float32) for v in (normalisation.std, normalisation.mean))
    rgb = (image[0].permute(1, 2, 0).numpy() * std + mean).round().clip(0, 255)
    cell = np.ascontiguousarray(rgb.astype(np.uint8)[..., ::-1])
    around = cv2.dilate((mask[0, 0].numpy() > 0).astype(np.uint8), np.ones((9, 9), np.uint8))
    outlines = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(cell, outlines, -1, MARKER_BGR, 1)
    return np.asarray(cv2.copyMakeBorder(cell, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=[255] * 3))
