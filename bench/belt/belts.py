"""Belts with known particles: rendered, or of photos of sand with particles composited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.images import read_image
from train.data.camera import blurred
from train.data.sand import sand_files
from train.data.synth import Scene, belt, composited
from train.matching import centroids

# Rows over which one photo fades into the next.
FADE = 48
# What no sand has and no particle but those that the oracle is to find: see `Oracle`.
MARKER = (255, 0, 255)
# By how much red and blue may exceed green elsewhere, grey levels.
MAGENTA = 32
# Px between two particles below which a resampled strip may join them when they are marked.
APART = 9


@dataclass(frozen=True, eq=False)
class Belt:
    """The surface of a belt, laid out: `image` (L,W,3) uint8 RGB, and its `particles` (k,2) float,
    centroids (x, y) in px. Row 0 comes first."""

    image: NDArray[np.uint8]
    particles: NDArray[np.float64]

    @property
    def length(self) -> int:
        """Rows."""
        return int(self.image.shape[0])

    def inside(self, begin: float, end: float) -> NDArray[np.float64]:
        """The particles of these rows."""
        y = self.particles[:, 1]
        return self.particles[(y >= begin) & (y < end)]


def rendered(seed: int, length: int, width: int, per_megapixel: float) -> Scene:
    """A rendered belt."""
    return belt(np.random.default_rng(seed), length, width, per_megapixel)


def of_photos(
    seed: int, length: int, width: int, per_megapixel: float, places: Sequence[str]
) -> Scene:
    """Photos of sand, one behind the other, with particles composited.

    Raises:
        EdgeError: a place holds no image, or an image cannot be read.
    """
    rng = np.random.default_rng(seed)
    files = [file for files in sand_files(places) for file in files]
    mosaic = _faded(_views(rng, files, width), length, width)
    return composited(rng, mosaic, int(per_megapixel * length * width / 1e6))


def unmarked(scene: Scene) -> Belt:
    """A belt as it is, for a network."""
    return Belt(scene.image, centroids(scene.mask))


def marked(scene: Scene) -> Belt:
    """The belt with its particles in the colour that the oracle finds, those alone that lie apart
    from all others."""
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (APART, APART))
    heaps = cv2.connectedComponents(cv2.dilate(scene.mask, near))[1]
    count, labels, _, centres = cv2.connectedComponentsWithStats(scene.mask)
    at = np.flatnonzero(labels)
    heap_of = np.zeros(count, int)
    heap_of[labels.ravel()[at]] = heaps.ravel()[at]
    alone = np.bincount(heap_of)[heap_of] == 1
    alone[0] = False
    # A pixel larger than they were, or resampling would lose the smallest; as sharp as a lens is.
    kept = cv2.dilate(alone[labels].astype(np.float32), np.ones((3, 3)))
    alpha = blurred(np.asarray(kept, np.float32), 0.6)[..., None]
    sand = scene.image.astype(np.float32)
    # Nothing else is of that colour.
    np.maximum(sand[..., 1], sand[..., ::2].min(axis=2) - MAGENTA, out=sand[..., 1])
    image = sand + alpha * (np.array(MARKER, np.float32) - sand)
    return Belt(np.rint(image).astype(np.uint8), np.asarray(centres[alone], np.float64))


def _views(rng: np.random.Generator, files: Sequence[Path], width: int) -> list[NDArray[np.uint8]]:
    """Each photo once, `width` px wide, enlarged where it is narrower."""
    views = []
    for file in rng.permutation(np.array(files, dtype=object)):
        photo = read_image(file)
        scale = max(1.0, width / photo.shape[1])
        if scale > 1:
            photo = np.asarray(cv2.resize(photo, None, fx=scale, fy=scale), np.uint8)
        left = int(rng.integers(photo.shape[1] - width + 1))
        views.append(photo[:, left : left + width])
    return views


def _faded(views: Sequence[NDArray[np.uint8]], length: int, width: int) -> NDArray[np.uint8]:
    """The views one below the other, again from the first, every second time upside down."""
    mosaic = np.zeros((length, width, 3), np.float32)
    top, number = 0, 0
    while top < length:
        view = views[number % len(views)][:: -1 if number // len(views) % 2 else 1]
        weight = np.ones((len(view), 1, 1), np.float32)
        if top:
            weight[:FADE, 0, 0] = np.linspace(0, 1, FADE)
        rows = min(len(view), length - top)
        there = mosaic[top : top + rows]
        there += weight[:rows] * (view[:rows] - there)
        top += len(view) - FADE
        number += 1
    return np.rint(mosaic).astype(np.uint8)
