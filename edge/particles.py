"""From a probability map to particles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Particle:
    """One connected group of particle pixels.

    `x`, `y`: centroid, px, where the first pixel's centre is (0, 0); `area_px`: pixels;
    `diameter_px`: of the circle of that area; `mean_probability`: over its pixels, 0..1.
    """

    id: int
    x: float
    y: float
    area_px: int
    diameter_px: float
    mean_probability: float


def particle_mask(probability: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
    """255 where the map (H,W) is of grey level `level` and above, else 0."""
    mask = cv2.threshold(probability, level - 1, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(mask, np.uint8)


def find_particles(probability: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[Particle]:
    """Particles of a map (H,W): the 8-connected groups of pixels where `mask` is not 0.

    Ids count from 1, top to bottom.
    """
    count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
    # Particles cover under 1% of a frame: look at their pixels only. (As bool: ten times faster.)
    at = np.flatnonzero(mask.view(np.bool_))
    label: NDArray[np.int32] = np.asarray(labels, np.int32).ravel()[at]
    rows, columns = np.divmod(at, mask.shape[1])
    area = np.bincount(label, minlength=count)[1:]
    x = np.bincount(label, columns, minlength=count)[1:] / area
    y = np.bincount(label, rows, minlength=count)[1:] / area
    mean = np.bincount(label, probability.ravel()[at], minlength=count)[1:] / area / 255
    return [
        Particle(
            id=i + 1,
            x=round(float(x[i]), 2),
            y=round(float(y[i]), 2),
            area_px=int(area[i]),
            diameter_px=round(2 * math.sqrt(area[i] / math.pi), 2),
            mean_probability=round(float(mean[i]), 4),
        )
        for i in range(count - 1)
    ]
