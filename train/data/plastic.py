"""Plastic particles, composited on a canvas with their mask.

A particle is a shape or a cut-out of a real photo, 2-12 px across: opaque or translucent, matt or
glossy, alone or touching others, on the sand or partly under it. A pixel of the mask belongs to a
particle where at least half of it is covered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from train.data.camera import blurred
from train.data.samples import find_samples
from train.data.shapes import (
    Floats,
    Outline,
    Sprite,
    blob,
    fill,
    place,
    rasterised,
    rgb,
    shadow,
    shard,
    strand,
    turn,
)

COVERED = 0.5
# Colours are RGB in 0..1; white, clear and yellowed plastic first. No black: sand has black grains
# of the same size.
COLOURS = (
    (0.96, 0.96, 0.94),
    (0.93, 0.94, 0.97),
    (0.90, 0.88, 0.80),
    (0.82, 0.80, 0.74),
    (0.10, 0.30, 0.75),
    (0.05, 0.55, 0.75),
    (0.55, 0.75, 0.90),
    (0.80, 0.10, 0.12),
    (0.95, 0.45, 0.08),
    (0.95, 0.85, 0.10),
    (0.10, 0.60, 0.25),
    (0.60, 0.85, 0.55),
    (0.85, 0.25, 0.60),
    (0.55, 0.35, 0.75),
)
WHITES = 4
# A particle is drawn only where its colour stands out from the sand around it, both as a lens blurs
# them: by this many of the sand's standard deviations, and where little of the sand is like it. A
# white grain among white grains is nothing that could be learnt. Nine in ten of the labelled
# pellets fulfil both, and one in twelve of the grains that a network took for pellets.
CONTRAST = 1.4
# Added to that standard deviation, so that particles differ from smooth sand too.
FAINT = 0.04
# Largest difference of two colours that are alike, and the fraction of sand that may be.
ALIKE, RARE = 0.15, 0.03
# Standard deviation of the lens's blur, px.
BLUR_PX = 0.8
# A lens spreads light over about as many square px, so that of small particles less is left.
LENS_PX2 = 5.0
# Px around a particle that count as its surroundings.
AROUND = 24
SMALLEST_PX, LARGEST_PX = 2.0, 12.0
# Below it, particles are brighter than the sand.
SMALLEST_DARK_PX = 5.0


@dataclass(frozen=True, eq=False)
class CutOut:
    """An object of a real photo: `colour` float32 (h,w,3) 0..1 and `alpha` float32 (h,w) 0..1."""

    colour: Floats
    alpha: Floats


def read_cutouts(folder: Path) -> list[CutOut]:
    """The objects of FOLDER/images under FOLDER/masks that touch no other and no edge.

    Raises:
        EdgeError: there is no such folder; or as `find_samples` and `SamplePaths.load`.
    """
    if not (folder / "images").is_dir():
        raise EdgeError(
            f"{folder}: has no photos in images/; name a folder with images/ and masks/"
        )
    found = []
    for photo in (paths.load() for paths in find_samples(folder)):
        height_all, width_all = photo.size_hw
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            np.asarray(photo.mask == 1, np.uint8)
        )
        for label in range(1, count):
            x, y, width, height, area = stats[label]
            inside = x > 1 and y > 1 and x + width < width_all - 1
            # What fills much less than a disc would is no single bead.
            if not inside or y + height >= height_all - 1 or area < 0.7 * width * height:
                continue
            if min(width, height) < 12:
                continue
            box = (slice(y - 1, y + height + 1), slice(x - 1, x + width + 1))
            alpha = cv2.GaussianBlur((labels[box] == label).astype(np.float32), (0, 0), 1.0)
            found.append(CutOut(np.divide(photo.image[box], 255, dtype=np.float32), alpha))
    return found


class Plastic:
    """Draws particles on canvases; `cutouts` are used beside the shapes."""

    def __init__(self, cutouts: Sequence[CutOut] = ()) -> None:
        self._cutouts = cutouts

    def scatter(
        self,
        rng: np.random.Generator,
        canvas: Floats,
        count: int,
        *,
        apart: bool = False,
        scale: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Draw about `count` particles on the canvas; their mask uint8 (H,W), 0 or 255.

        Args:
            apart: without heaps and touching particles.
            scale: at which the sensor will see the canvas; see `camera.zoom`.
        """
        height, width = canvas.shape[:2]
        mask = np.zeros((height, width), np.uint8)
        bare = blurred(canvas, BLUR_PX / scale)
        brightness = max(float(bare.mean()), 1e-3)
        # One kind of plastic often dominates a photo, and particles lie in heaps as well as alone.
        style = replace(_Style.draw(rng), lens_px2=LENS_PX2 / scale**2)
        if apart:
            style = replace(style, heaped=0.0, touching=0.0)
        heaps = [place(rng, canvas) for _ in range(3)]
        previous: tuple[float, float, float] | None = None
        for _ in range(count):
            size = style.size(rng)
            x, y = place(rng, canvas)
            kind = rng.random()
            if kind < style.heaped:
                x, y = rng.normal(heaps[rng.integers(len(heaps))], style.heap_px)
            elif kind < style.heaped + style.touching and previous:
                # Beside the one before, which it touches.
                angle, gap = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 1.25)
                reach = (size + previous[2]) / 2 * gap
                x, y = previous[0] + reach * math.cos(angle), previous[1] + reach * math.sin(angle)
            if not (0 <= x < width and 0 <= y < height):
                continue
            if self._particle(rng, canvas, bare, brightness, mask, style, float(x), float(y), size):
                previous = float(x), float(y), size
        return mask

    def _particle(
        self,
        rng: np.random.Generator,
        canvas: Floats,
        bare: Floats,
        brightness: float,
        mask: NDArray[np.uint8],
        style: _Style,
        x: float,
        y: float,
        size: float,
    ) -> bool:
        """Draw one particle; False where no colour stands out from the sand."""
        around = bare[
            max(0, int(y) - AROUND) : int(y) + AROUND + 1,
            max(0, int(x) - AROUND) : int(x) + AROUND + 1,
        ]
        mean = rgb(*cv2.mean(around)[:3])
        light = float(np.clip(0.55 + 0.45 * mean.mean() / brightness, 0.5, 1.15))
        opacity = rng.uniform(0.45, 0.85) if rng.random() < style.clear else rng.uniform(0.85, 1)
        visible = opacity * size**2 / (size**2 + style.lens_px2)
        for _ in range(4):
            colour = style.colour(rng) * np.float32(light)
            # Small dark specks are grains, as a rule.
            dark = size < SMALLEST_DARK_PX and colour.mean() < mean.mean()
            if not dark and stands_out(mean + visible * (colour - mean), around):
                break
        else:
            return False
        outline = style.outline(rng, size)
        sprite = rasterised(outline, x, y)
        pixels: Floats = colour
        if self._cutouts and rng.random() < 0.12:
            cutout = self._cutouts[int(rng.integers(len(self._cutouts)))]
            sprite, pixels = _placed(rng, cutout, size, x, y, colour)
        elif size > 3.5 and rng.random() < 0.7:
            pixels = _rounded(rng, sprite, colour)
        windows = sprite.windows(*mask.shape)
        if windows is None:
            return False
        there, own = windows
        if rng.random() < 0.15:  # partly under the sand
            sprite = _buried(rng, sprite)
        covered = sprite.alpha[own] >= COVERED
        if not covered.any():
            return False
        if rng.random() < 0.85:
            shadow(canvas, outline, x, y, rng.uniform(0.1, 0.7))
        fill(canvas, sprite, pixels, opacity)
        if size > 4 and rng.random() < style.glossy:
            spot = rasterised(outline * rng.uniform(0.2, 0.45), x - size * 0.12, y - size * 0.15)
            fill(canvas, spot, np.ones(3, np.float32), rng.uniform(0.2, 0.8))
        # A gap to those it touches, so that they stay particles of their own.
        grown = cv2.dilate(covered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        mask[there][grown] = 0
        mask[there][covered] = 255
        return True


def stands_out(colour: Floats, sand: Floats) -> bool:
    """Whether a colour (3,) is unlike the sand (h,w,3) around it."""
    mean, std = (np.float32(values).ravel() for values in cv2.meanStdDev(sand))
    apart = np.abs(colour - mean)
    if (apart / (std + FAINT)).max() < CONTRAST:
        return False
    # Half of the way to the sand's mean at most: faint particles on smooth sand do stand out.
    alike = min(ALIKE, 0.5 * float(apart.max()))
    found = cv2.countNonZero(cv2.inRange(sand, colour - alike, colour + alike))
    return bool(found <= RARE * sand.shape[0] * sand.shape[1])


@dataclass(frozen=True)
class _Style:
    """What the particles of one photo have in common: fractions are 0..1, sizes px.

    `lens_px2`: square px that light is spread over.
    """

    pellets: float
    fibres: float
    whites: float
    median_px: float
    log_std: float
    heaped: float
    heap_px: float
    touching: float
    clear: float
    glossy: float
    favourite: int
    lens_px2: float = LENS_PX2

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Style:
        return cls(
            pellets=rng.uniform(0.2, 1.0),
            fibres=rng.uniform(0.0, 0.3),
            whites=rng.uniform(0.4, 1.0),
            median_px=float(np.exp(rng.uniform(math.log(3.2), math.log(9.0)))),
            log_std=rng.uniform(0.1, 0.3),
            heaped=rng.uniform(0.1, 0.9) if rng.random() < 0.6 else 0.0,
            heap_px=float(np.exp(rng.uniform(math.log(3.0), math.log(18.0)))),
            touching=rng.uniform(0.05, 0.35),
            clear=rng.uniform(0, 0.4),
            glossy=rng.uniform(0, 0.7),
            favourite=int(rng.integers(len(COLOURS))),
        )

    def size(self, rng: np.random.Generator) -> float:
        drawn = self.median_px * math.exp(rng.normal(0, self.log_std))
        return float(np.clip(drawn, SMALLEST_PX, LARGEST_PX))

    def colour(self, rng: np.random.Generator) -> Floats:
        if rng.random() < self.whites:
            index = int(rng.integers(WHITES))
        elif rng.random() < 0.3:
            index = self.favourite
        else:
            index = int(rng.integers(WHITES, len(COLOURS)))
        colour = rgb(*COLOURS[index]) * np.float32(rng.uniform(0.82, 1.0))
        colour += (rng.uniform(0, 0.35) if index >= WHITES else 0.0) * (1 - colour)  # faded
        return np.clip(colour + rng.normal(0, 0.02, 3), 0.02, 1.0).astype(np.float32)

    def outline(self, rng: np.random.Generator, size: float) -> Outline:
        kind = rng.random()
        if kind < self.fibres:
            return strand(rng, max(size, 4.0) * rng.uniform(1, 1.8), rng.uniform(1.2, 2.2))
        if kind < self.fibres + (1 - self.fibres) * self.pellets:
            return blob(rng, size, max(1.8, size * rng.uniform(0.65, 1.0)), rng.uniform(0, 0.15))
        return shard(rng, max(size, 3.0))


def _rounded(rng: np.random.Generator, sprite: Sprite, colour: Floats) -> Floats:
    """The colour (h,w,3) of a body lit from one side: lighter there, darker at the other."""
    rows, columns = sprite.alpha.shape
    across = np.linspace(-1, 1, columns, dtype=np.float32)[None] * np.float32(rng.uniform(-1, 1))
    down = np.linspace(-1, 1, rows, dtype=np.float32)[:, None] * np.float32(rng.uniform(-1, 1))
    shade = 1 + np.float32(rng.uniform(0.03, 0.22)) * (across + down)
    return np.asarray(np.clip(shade[..., None] * colour, 0, 1), np.float32)


def _buried(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    """The sprite with up to half of it under the sand, on a ragged line."""
    rows, columns = sprite.alpha.shape
    direction = turn(rng)[0]
    y, x = np.mgrid[:rows, :columns]
    along = (x - columns / 2) * direction[0] + (y - rows / 2) * direction[1]
    ragged = along + rng.normal(0, 0.6, along.shape)
    hidden = ragged > rng.uniform(0.0, 0.3) * max(rows, columns)
    return Sprite(np.where(hidden, 0, sprite.alpha).astype(np.float32), sprite.x, sprite.y)


def _placed(
    rng: np.random.Generator, cutout: CutOut, size: float, x: float, y: float, colour: Floats
) -> tuple[Sprite, Floats]:
    """A cut-out `size` px across at (x, y), in its own colours or near `colour`."""
    rows, columns = cutout.alpha.shape
    scale = size / max(rows, columns)
    small = max(2, round(columns * scale)), max(2, round(rows * scale))
    alpha = np.pad(cv2.resize(cutout.alpha, small, interpolation=cv2.INTER_AREA), 1)
    body = cv2.resize(cutout.colour, small, interpolation=cv2.INTER_AREA)
    body = np.pad(body, ((1, 1), (1, 1), (0, 0)), "edge")
    if rng.random() < 0.6:
        body = body - body.mean(axis=(0, 1)) + colour
    corner = round(x - alpha.shape[1] / 2), round(y - alpha.shape[0] / 2)
    return Sprite(alpha.astype(np.float32), *corner), np.clip(body, 0, 1).astype(np.float32)
