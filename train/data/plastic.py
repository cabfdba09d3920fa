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
    Image,
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
# A particle stays only where it stands out from the sand around it, as it was drawn and as a lens
# blurs both: by this many of the sand's standard deviations, and where little of the sand is like
# it. A white grain among white grains, or clear plastic in its own shadow, is nothing that could be
# learnt. Nine in ten of the labelled pellets fulfil both, and one in twelve of the grains that a
# network took for pellets.
CONTRAST = 1.4
# By this many, a photo of the scene still shows it.
SEEN = 1.0
# Added to that standard deviation, so that particles differ from smooth sand too.
FAINT = 0.04
# Largest difference of two colours that are alike, and the fraction of sand that may be.
ALIKE, RARE = 0.15, 0.03
# Standard deviation of the lens's blur, px.
BLUR_PX = 0.8
# Px around a particle that count as its surroundings.
AROUND = 24
# And those beside its edge, which a photo shows it against.
BESIDE = 6
SMALLEST_PX, LARGEST_PX = 2.0, 12.0
# Fibres are up to this many times as long as other particles are wide.
SMALLEST_FIBRE_PX, LONGEST = 4.0, 1.8
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
        sand = _Sand.of(canvas, BLUR_PX / scale)
        # One kind of plastic often dominates a photo, and particles lie in heaps as well as alone.
        style = _Style.draw(rng)
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
            if self._particle(rng, sand, style, float(x), float(y), size):
                previous = float(x), float(y), size
        return sand.mask

    def _particle(
        self, rng: np.random.Generator, sand: _Sand, style: _Style, x: float, y: float, size: float
    ) -> bool:
        """Draw one particle; False where none of a few that were tried stands out from the sand."""
        around = sand.bare[_square(x, y, AROUND)]
        mean = rgb(*cv2.mean(around)[:3])
        light = float(np.clip(0.55 + 0.45 * mean.mean() / sand.brightness, 0.5, 1.15))
        there = _square(x, y, math.ceil(LONGEST * max(size, SMALLEST_FIBRE_PX) / 2) + 4)
        canvas, mask = sand.canvas[there], sand.mask[there]
        before = canvas.copy()
        x, y = x - there[1].start, y - there[0].start
        for _ in range(4):
            colour = style.colour(rng) * np.float32(light)
            # Small dark specks are grains, as a rule.
            if size < SMALLEST_DARK_PX and colour.mean() < mean.mean():
                continue
            covered = self._draw(rng, canvas, style, colour, x, y, size)
            seen = cv2.mean(blurred(canvas, sand.blur_px), covered)[:3]
            if covered.any() and stands_out(rgb(*seen), around):
                # A gap to those it touches, so that they stay particles of their own.
                mask[cv2.dilate(covered, np.ones((3, 3), np.uint8)) > 0] = 0
                mask[covered > 0] = 255
                return True
            canvas[:] = before
        return False

    def _draw(
        self,
        rng: np.random.Generator,
        canvas: Floats,
        style: _Style,
        colour: Floats,
        x: float,
        y: float,
        size: float,
    ) -> NDArray[np.uint8]:
        """Draw one particle with its shadow; a mask (H,W), 1 on the pixels that belong to it."""
        outline = style.outline(rng, size)
        sprite = rasterised(outline, x, y)
        pixels: Floats = colour
        if self._cutouts and rng.random() < 0.12:
            cutout = self._cutouts[int(rng.integers(len(self._cutouts)))]
            sprite, pixels = _placed(rng, cutout, size, x, y, colour)
        elif size > 3.5 and rng.random() < 0.7:
            pixels = _rounded(rng, sprite, colour)
        if rng.random() < 0.15:  # partly under the sand
            sprite = _buried(rng, sprite)
        covered = np.zeros(canvas.shape[:2], np.uint8)
        windows = sprite.windows(*canvas.shape[:2])
        if windows is not None:
            covered[windows[0]] = sprite.alpha[windows[1]] >= COVERED
        if rng.random() < 0.85:
            shadow(canvas, outline, x, y, rng.uniform(0.1, 0.7))
        clear = rng.random() < style.clear
        fill(canvas, sprite, pixels, rng.uniform(0.45, 0.85) if clear else rng.uniform(0.85, 1))
        if size > 4 and rng.random() < style.glossy:
            spot = rasterised(outline * rng.uniform(0.2, 0.45), x - size * 0.12, y - size * 0.15)
            fill(canvas, spot, np.ones(3, np.float32), rng.uniform(0.2, 0.8))
        return covered


def visible(mask: NDArray[np.uint8], photo: Image) -> NDArray[np.uint8]:
    """The mask (H,W) without the particles that no longer stand out in the photo (H,W,3) uint8 of
    the scene, in which noise, compression and blur may have buried them."""
    if not mask.any():  # as many scenes are
        return mask
    seen = blurred(np.divide(photo, 255, dtype=np.float32), BLUR_PX)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    # A pixel beside a particle shows some of it.
    sand = cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0
    lost = np.zeros(count, np.bool_)
    for label in range(1, count):
        x, y, width, height, _ = stats[label]
        box = slice(y, y + height), slice(x, x + width)
        around = _square(x + width // 2, y + height // 2, max(width, height) // 2 + BESIDE)
        colour = cv2.mean(seen[box], np.asarray(labels[box] == label, np.uint8))[:3]
        bare = np.asarray(sand[around], np.uint8)
        mean, std = (values.ravel() for values in cv2.meanStdDev(seen[around], mask=bare))
        lost[label] = bare.any() and (np.abs(colour - mean) < SEEN * (std + FAINT / 2)).all()
    return np.where(lost[labels], 0, mask).astype(np.uint8)


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


@dataclass(frozen=True, eq=False)
class _Sand:
    """The canvas, the mask of the particles on it, and the bare sand as a lens blurs it.

    Attributes:
        canvas, bare: (H,W,3).
        mask: uint8 (H,W), 0 or 255.
        blur_px: standard deviation of the lens's blur.
        brightness: mean of the bare sand, above 0.
    """

    canvas: Floats
    mask: NDArray[np.uint8]
    bare: Floats
    blur_px: float
    brightness: float

    @classmethod
    def of(cls, canvas: Floats, blur_px: float) -> _Sand:
        bare = blurred(canvas, blur_px)
        mask = np.zeros(canvas.shape[:2], np.uint8)
        return cls(canvas, mask, bare, blur_px, max(float(bare.mean()), 1e-3))


@dataclass(frozen=True)
class _Style:
    """What the particles of one photo have in common: fractions are 0..1, sizes px."""

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
            length = max(size, SMALLEST_FIBRE_PX) * rng.uniform(1, LONGEST)
            return strand(rng, length, rng.uniform(1.2, 2.2))
        if kind < self.fibres + (1 - self.fibres) * self.pellets:
            return blob(rng, size, max(1.8, size * rng.uniform(0.65, 1.0)), rng.uniform(0, 0.15))
        return shard(rng, max(size, 3.0))


def _square(x: float, y: float, reach: int) -> tuple[slice, slice]:
    """Rows and columns at most `reach` px from (x, y)."""
    left, top = int(x), int(y)
    rows = slice(max(0, top - reach), top + reach + 1)
    return rows, slice(max(0, left - reach), left + reach + 1)


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
