"""Outlines of small things, and how they are drawn on a canvas with sub-pixel coverage.

A canvas is float32 (H,W,3) RGB, 0..1. Needs NumPy and OpenCV only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Outline = NDArray[np.float64]
Windows = tuple[tuple[slice, slice], tuple[slice, slice]]

SUPERSAMPLING = 8
# Shapes wider than this need no finer raster, px.
SUPERSAMPLED_UP_TO = 24
LIGHT_FROM = np.array([-0.6, -0.8])


@dataclass(frozen=True, eq=False)
class Sprite:
    """One small shape: `alpha` (h,w) float32 coverage 0..1 with its top left corner at (x, y)."""

    alpha: Floats
    x: int
    y: int

    def windows(self, height: int, width: int) -> Windows | None:
        """Slices of a canvas of that size and of `alpha` where they overlap; None where nowhere."""
        rows, columns = self.alpha.shape
        top, left = max(0, self.y), max(0, self.x)
        bottom, right = min(height, self.y + rows), min(width, self.x + columns)
        if top >= bottom or left >= right:
            return None
        return (slice(top, bottom), slice(left, right)), (
            slice(top - self.y, bottom - self.y),
            slice(left - self.x, right - self.x),
        )


def rgb(red: float, green: float, blue: float) -> Floats:
    """A colour, 0..1."""
    return np.array([red, green, blue], np.float32)


def rasterised(outline: Outline, x: float, y: float) -> Sprite:
    """Coverage of a polygon (n,2) of px offsets placed at (x, y)."""
    points = outline + np.array((x, y))
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    corner = math.floor(left) - 1, math.floor(top) - 1
    size = math.ceil(right) + 2 - corner[0], math.ceil(bottom) + 2 - corner[1]
    fineness = SUPERSAMPLING if max(size) <= SUPERSAMPLED_UP_TO else 2
    # Pixel (i, j) covers [i, i+1) x [j, j+1); a supersampled pixel's centre is at +0.5.
    fine = np.rint(((points - corner) * fineness - 0.5) * 16).astype(np.int32)
    drawn = np.zeros((size[1] * fineness, size[0] * fineness), np.uint8)
    cv2.fillPoly(drawn, [fine], 255, shift=4)
    alpha = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
    return Sprite(np.divide(alpha, 255, dtype=np.float32), *corner)


def blob(rng: np.random.Generator, length: float, width: float, rough: float) -> Outline:
    """A closed outline about `length` x `width` px, turned at random; `rough` 0 is an ellipse."""
    corners = int(rng.integers(7, 12)) if rough else 24
    angle = np.arange(corners) * (2 * np.pi / corners)
    angle += rng.uniform(-1, 1, corners) * rough * 0.4
    radius = 1 - rough * rng.uniform(0, 1, corners)
    points = np.empty((corners, 2))
    points[:, 0] = np.cos(angle) * radius * length / 2
    points[:, 1] = np.sin(angle) * radius * width / 2
    return points @ turn(rng)


def shard(rng: np.random.Generator, size: float) -> Outline:
    """A convex angular fragment of 3 to 6 corners, `size` px across."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
    # Corners that bunch up would leave a sliver: spread them.
    even = np.linspace(0, 2 * np.pi, len(angle), endpoint=False)
    angle = 0.4 * angle + 0.6 * even
    points = np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.5, 1.0)], axis=1) * size / 2
    return points @ turn(rng)


def strand(rng: np.random.Generator, length: float, width: float) -> Outline:
    """A curved strand `length` px long and `width` px wide."""
    along = np.linspace(-0.5, 0.5, 9)
    bend = rng.uniform(-0.5, 0.5) * length
    middle = np.stack([along * length, bend * (along**2 - 0.08)], axis=1)
    slope = np.gradient(middle, axis=0)
    normal = np.stack([-slope[:, 1], slope[:, 0]], axis=1)
    normal *= width / 2 / np.linalg.norm(normal, axis=1, keepdims=True)
    outline: Outline = np.concatenate([middle + normal, (middle - normal)[::-1]])
    return outline @ turn(rng)


def turn(rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation matrix (2,2) of a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def fill(canvas: Floats, sprite: Sprite, colour: Floats, opacity: float = 1.0) -> None:
    """Lay one colour (3,), or one of each pixel (h,w,3), over the canvas where the sprite is."""
    windows = sprite.windows(*canvas.shape[:2])
    if windows is None:
        return
    there, own = windows
    alpha = (sprite.alpha[own] * np.float32(opacity))[..., None]
    canvas[there] += alpha * ((colour[own] if colour.ndim == 3 else colour) - canvas[there])


def shadow(canvas: Floats, outline: Outline, x: float, y: float, depth: float) -> None:
    """A soft contact shadow a pixel away from the light; `depth` 0..1 is its darkness."""
    black = np.zeros(3, np.float32)
    dx, dy = -LIGHT_FROM * 1.3
    fill(canvas, rasterised(outline * 1.15, x + dx, y + dy), black, depth * 0.6)
    fill(canvas, rasterised(outline, x + 0.6 * dx, y + 0.6 * dy), black, depth * 0.4)


def place(rng: np.random.Generator, canvas: Floats) -> tuple[float, float]:
    """A random (x, y) on the canvas, px."""
    return float(rng.uniform(0, canvas.shape[1])), float(rng.uniform(0, canvas.shape[0]))


def smooth_noise(rng: np.random.Generator, height: int, width: int, scale: float) -> Floats:
    """Noise (H,W) of unit standard deviation with features of about `scale` px."""
    rows, columns = max(2, round(height / scale) + 1), max(2, round(width / scale) + 1)
    coarse = rng.standard_normal((rows, columns), np.float32)
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    noise = cv2.resize(coarse, (width, height), interpolation=interpolation)
    return np.asarray(noise / (noise.std() + 1e-6), np.float32)
