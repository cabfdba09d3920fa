"""What particles lie on: sand from real photos at any scale and light, or rendered sand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from glob import glob
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from edge.errors import EdgeError
from edge.sources.images import image_files, read_image
from train.data.shapes import Floats, Image, smooth_noise

# Photos are seen from a tenth of their size, where gravel becomes sand, to half as large again.
SCALES = (0.1, 1.5)
# Reduced copies of a photo, so that a small scale does not read all of it.
PYRAMID = (1.0, 0.5, 0.25, 0.125)
SANDS = ((0.76, 0.69, 0.58), (0.62, 0.53, 0.42), (0.85, 0.80, 0.70), (0.52, 0.47, 0.41),
         (0.60, 0.56, 0.52), (0.70, 0.55, 0.38))  # fmt: skip


class SandPhotos:
    """Real photos of sand without plastic, in memory, drawn from at random.

    Args:
        photos: uint8 (H,W,3) RGB, at least 32 px high and wide.
        weights: how often each is taken; all alike when not given.
    """

    def __init__(self, photos: Sequence[Image], weights: Sequence[float] | None = None) -> None:
        self._pyramids = [[_reduced(photo, scale) for scale in PYRAMID] for photo in photos]
        weighted = np.array(weights if weights is not None else np.ones(len(photos)), np.float64)
        self._probabilities = weighted / weighted.sum()

    @classmethod
    def read(cls, places: Sequence[str]) -> SandPhotos:
        """Every image of some folders or globs; each place is taken equally often.

        Raises:
            EdgeError: a place holds no image, or an image cannot be read.
        """
        photos: list[Image] = []
        weights: list[float] = []
        for files in sand_files(places):
            photos += map(read_image, files)
            weights += [1 / len(files)] * len(files)
        return cls(photos, weights)

    def view(self, rng: np.random.Generator, height: int, width: int) -> Floats:
        """A part of a photo, float32 (H,W,3) 0..1, flipped, turned, scaled and lit at random."""
        pyramid = self._pyramids[rng.choice(len(self._pyramids), p=self._probabilities)]
        sides = np.array(pyramid[0].shape[:2])
        least = max(SCALES[0], float((np.array([height, width]) / sides).max()))
        scale = float(np.exp(rng.uniform(np.log(least), np.log(max(least, SCALES[1])))))
        level = max(i for i, reduced in enumerate(PYRAMID) if i == 0 or reduced >= scale)
        photo, scale = pyramid[level], scale / PYRAMID[level]
        rows, columns = (
            min(size, max(1, round(side / scale)))
            for side, size in zip((height, width), photo.shape[:2], strict=True)
        )
        top = int(rng.integers(photo.shape[0] - rows + 1))
        left = int(rng.integers(photo.shape[1] - columns + 1))
        part: MatLike = cv2.resize(
            photo[top : top + rows, left : left + columns],
            (width, height),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        if rng.random() < 0.5:
            part = part[:, ::-1]
        if rng.random() < 0.5:
            part = part[::-1]
        if height == width and rng.random() < 0.5:
            part = part.transpose(1, 0, 2)
        return _lit(rng, np.divide(part, 255, dtype=np.float32))


def sand_files(places: Sequence[str]) -> list[list[Path]]:
    """The image files of each folder or glob.

    Raises:
        EdgeError: a place holds no image.
    """
    found = []
    for place in places:
        folder = Path(place)
        files = image_files(folder) if folder.is_dir() else sorted(map(Path, glob(place)))
        if not files:
            raise EdgeError(f"{place}: neither a folder with images nor a glob that finds any")
        found.append(files)
    return found


def rendered_sand(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Sand float32 (H,W,3) 0..1 where there are no photos: fine, or single grains of any size."""
    return _shaded(rng, height, width, _grains if rng.random() < 0.5 else _fine)


def fine_sand(rng: np.random.Generator, height: int, width: int) -> Floats:
    """The same, of fine sand only."""
    return _shaded(rng, height, width, _fine)


def _shaded(
    rng: np.random.Generator, height: int, width: int, kind: Callable[..., Floats]
) -> Floats:
    colour = np.asarray(SANDS[rng.integers(len(SANDS))], np.float32)
    colour = np.clip(colour * rng.uniform(0.4, 1.0) + rng.normal(0, 0.012, 3), 0.08, 0.85)
    canvas = kind(rng, height, width, colour)
    shading = smooth_noise(rng, height, width, rng.uniform(30, 90)) * rng.uniform(0.02, 0.08)
    shading += smooth_noise(rng, height, width, rng.uniform(200, 700)) * rng.uniform(0.03, 0.15)
    lit = canvas * np.clip(1 + shading, 0.4, 1.6)[..., None]
    return np.asarray(np.clip(lit, 0.01, 1), np.float32)


def _fine(rng: np.random.Generator, height: int, width: int, colour: Floats) -> Floats:
    """Noise of several scales."""
    grain = float(np.exp(rng.uniform(np.log(1.0), np.log(6.0))))
    relief = smooth_noise(rng, height, width, grain) * rng.uniform(0.02, 0.10)
    relief += smooth_noise(rng, height, width, 4 * grain) * rng.uniform(0.01, 0.06)
    # Grains brighter or darker than the rest, as many as the tail of the noise says.
    speckle = smooth_noise(rng, height, width, rng.uniform(1.5, 5.0))
    relief += np.maximum(speckle - rng.uniform(1.0, 2.5), 0) * rng.uniform(-0.25, 0.2)
    tint = np.stack(
        [smooth_noise(rng, height, width, grain * 1.5) for _ in range(3)], axis=-1
    ) * np.float32(rng.uniform(0.003, 0.025))
    return np.asarray(np.clip(1 + relief, 0.25, 1.6)[..., None] * colour + tint, np.float32)


def _grains(rng: np.random.Generator, height: int, width: int, colour: Floats) -> Floats:
    """Grains side by side, each of its own tone, with dark gaps and highlights."""
    size = float(np.exp(rng.uniform(np.log(2.5), np.log(25.0))))
    # Drawn larger than it is shown, or small grains would be squares.
    fineness = 1 if size > 12 else 2
    rows, columns = height * fineness, width * fineness
    count = max(4, round(height * width / size**2))
    seeds = np.full((rows, columns), 255, np.uint8)
    seeds[rng.integers(0, rows, count), rng.integers(0, columns, count)] = 0
    distance, label = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Most are near the colour of the sand; as many bright or dark ones as the exponent says.
    kinds = count + 2
    tone = np.exp(rng.standard_normal(kinds) * rng.uniform(0.1, 0.6))
    hue = rng.normal(0, rng.uniform(0.0, 0.12), (kinds, 3))
    tones = (tone[:, None] * colour * (1 + hue)).astype(np.float32)
    canvas = np.clip(tones, 0, 1)[np.asarray(label) % kinds]
    gap = np.clip(np.asarray(distance)[..., None] / (size * fineness * 0.75), 0, 1.2)
    canvas = canvas * np.float32(1.05) * (1 - np.float32(rng.uniform(0.1, 0.9)) * gap**2)
    if rng.random() < 0.5:  # wet or glassy: a highlight on some
        spot = np.clip(1 - np.asarray(distance) / (size * fineness * rng.uniform(0.1, 0.3)), 0, 1)
        shiny = (rng.random(kinds) < rng.uniform(0.1, 0.9))[np.asarray(label) % kinds]
        canvas = canvas + (spot * shiny * rng.uniform(0.2, 0.9))[..., None].astype(np.float32)
    shown = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(shown, np.float32)


def _reduced(photo: Image, scale: float) -> Image:
    if scale == 1:
        return photo
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _lit(rng: np.random.Generator, part: Floats) -> Floats:
    """Another contrast, colour, exposure and light."""
    mean = part.mean(axis=(0, 1))
    contrast = np.float32(np.exp(rng.uniform(np.log(0.3), np.log(2.0))))
    target = mean
    if rng.random() < 0.6:  # the colour of another sand
        target = np.asarray(SANDS[rng.integers(len(SANDS))], np.float32)
        target = target * np.float32(rng.uniform(0.5, 1.05)) + rng.normal(0, 0.03, 3)
        if rng.random() < 0.5:
            grey = part.mean(axis=2, keepdims=True)
            part = part + (grey - part) * np.float32(rng.uniform(0.2, 1.0))
            mean = part.mean(axis=(0, 1))
    part = (part - mean) * contrast + np.clip(target, 0.08, 0.88)
    if rng.random() < 0.4:  # up to dark sand with nothing but highlights
        part = np.clip(part, 0, 1) ** np.float32(np.exp(rng.uniform(np.log(0.6), np.log(3.0))))
    height, width = part.shape[:2]
    if rng.random() < 0.6:
        shading = smooth_noise(rng, height, width, rng.uniform(20, 200)) * rng.uniform(0.02, 0.15)
        part = part * (1 + shading)[..., None]
    return np.ascontiguousarray(np.clip(part, 0, 1), np.float32)
