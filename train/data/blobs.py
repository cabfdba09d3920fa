"""Masks from points: a disc on each, or the blob segmented around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.points import PointSample
from train.data.samples import IGNORED, Sample

# Of the disc that a blob does not leave, and of an ignored place, px.
DIAMETER = 12.0
# Half the side of the window whose median is the background, px.
REACH = 12
# How far from the point the particle's strongest pixel is looked for, px: nobody clicks exactly.
CLICK = 2.0


def with_mask(sample: PointSample, diameter: float | None = None) -> Sample:
    """The photo with a mask of its points: 1 on particles, `IGNORED` around ignored points.

    A blob are the pixels around the point whose colour is nearer to the particle's than to that of
    the sand: their distance to the median colour of the window, outside of a 12 px disc, is at
    least half of the largest distance within 2 px of the point. It is connected, and stays in the
    disc.

    Args:
        diameter: of a disc on each point, px; blobs when not given.
    """
    mask = np.zeros(sample.image.shape[:2], np.uint8)
    for x, y in sample.labels.ignored:
        mask[disc(mask.shape, x, y, diameter or DIAMETER)] = IGNORED
    for x, y in sample.labels.points:
        if diameter is None:
            mask[blob(sample.image, x, y)] = 1
        else:
            mask[disc(mask.shape, x, y, diameter)] = 1
    return Sample(sample.name, sample.image, mask)


Pixels = tuple[NDArray[np.intp], NDArray[np.intp]]


def disc(shape: tuple[int, ...], x: float, y: float, diameter: float) -> Pixels:
    """(rows, columns) of the pixels of a photo whose centres lie in a disc; at least one."""
    radius = diameter / 2
    rows, columns = _window(shape, x, y, radius + 1)
    distance = np.hypot(*np.meshgrid(columns - x, rows - y))
    found = np.nonzero(distance <= max(radius, distance.min()))
    return rows[found[0]], columns[found[1]]


def blob(image: NDArray[np.uint8], x: float, y: float) -> Pixels:
    """(rows, columns) of the particle of an image (H,W,3) that a point lies on; see `with_mask`."""
    rows, columns = _window(image.shape, x, y, REACH)
    patch = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    away = np.hypot(*np.meshgrid(columns - x, rows - y))
    inside = away <= DIAMETER / 2
    around = patch if inside.all() else patch[~inside]
    background = np.median(around.reshape(-1, 3), axis=0)
    contrast = np.linalg.norm(patch - background, axis=2)
    near = away <= max(CLICK, away.min())
    peak = np.unravel_index(np.where(near, contrast, -1).argmax(), contrast.shape)
    strong = inside & (contrast >= contrast[peak] / 2)
    labels = np.asarray(cv2.connectedComponents(strong.astype(np.uint8))[1])
    found = np.nonzero(labels == labels[peak])
    return rows[found[0]], columns[found[1]]


def _window(
    shape: tuple[int, ...], x: float, y: float, reach: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a photo at most `reach` px from a point."""
    rows, columns = (
        np.arange(max(0, int(np.ceil(at - reach))), min(size, int(at + reach) + 1), dtype=np.intp)
        for at, size in ((y, shape[0]), (x, shape[1]))
    )
    return rows, columns
