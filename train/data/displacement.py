"""Whether a mask lies beside what it labels.

Particles differ from what surrounds them, so their mask lies where the photo's local contrast is
high. A mask is displaced where it would find more of it elsewhere:

- local contrast is how far a pixel is from the mean of its neighbourhood, three particles wide, in
  Lab;
- the mask is moved in steps of an eighth of the median particle's diameter (at least 1 px), by up
  to that diameter (at least 12 px);
- the contrast under the moved mask has its peak at least a quarter of a particle and 2 px away, and
  not at the end of the search;
- in place, the mask has at most `LEFT` of that peak above the photo's mean;
- and so it is for most particles: the mean gain is `SURE` times its standard error.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.samples import Sample

STEPS, REACH_PX = 8, 12
MIN_OBJECTS = 6
LEFT, SURE = 0.7, 5.0
# Pixels of particles that are looked at.
MAX_PIXELS = 20_000


def displacement(sample: Sample) -> tuple[int, int] | None:
    """(right, down), px, by which a mask must be moved to lie on its particles.

    None where it lies well, or has fewer than `MIN_OBJECTS` objects to tell by.
    """
    numbers = sample.objects
    if numbers is None:
        numbers = cv2.connectedComponents(sample.labels, connectivity=8)[1]
    y, x = np.nonzero(numbers)
    every = max(1, -(-len(y) // MAX_PIXELS))
    y, x = y[::every], x[::every]
    _, number, sizes = np.unique(numbers[y, x], return_inverse=True, return_counts=True)
    if len(sizes) < MIN_OBJECTS:
        return None
    diameter = 2 * math.sqrt(float(np.median(sizes)) * every / math.pi)
    step = max(1, round(diameter / STEPS))
    # A particle's diameter, and more where that is only a few px.
    steps = max(STEPS, -(-REACH_PX // step))
    reach = steps * step
    contrast = _local_contrast(sample.image, 2 * round(1.5 * diameter) + 1)
    padded = np.asarray(
        cv2.copyMakeBorder(contrast, reach, reach, reach, reach, cv2.BORDER_REFLECT)
    )
    moves = range(0, 2 * reach + 1, step)
    means = np.array([
        [np.bincount(number, padded[y + down, x + right]) / sizes for right in moves]
        for down in moves
    ])  # fmt: skip
    totals = means.mean(axis=2) - contrast.mean()
    down, right = (int(at) for at in np.unravel_index(np.argmax(totals), totals.shape))
    if {down, right} & {0, 2 * steps}:
        return None
    away = (right - steps) * step, (down - steps) * step
    gain = means[down, right] - means[steps, steps]
    error = float(gain.std(ddof=1)) / math.sqrt(len(gain))
    if (
        math.hypot(*away) < max(2.0, diameter / 4)
        or totals[steps, steps] > LEFT * totals[down, right]
        or gain.mean() < SURE * error
    ):
        return None
    return away


def _local_contrast(image: NDArray[np.uint8], side: int) -> NDArray[np.uint16]:
    """(H,W): how far each pixel is from the mean of the `side` x `side` px around it, in Lab."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    away = np.asarray(cv2.absdiff(lab, cv2.blur(lab, (side, side))))
    return np.asarray(away.sum(axis=2, dtype=np.uint16))
