"""Seeded synthetic sand photos with exact masks: `train synth DIR --photos 100 --seed 0`.

A scene is painted in the order light meets it: shaded sand, natural clutter (stones, shells,
twigs, coloured grains), plastic (fragments, fibres, pellets of 3-10 px), shadows and glints, then
what the camera adds: blur, noise and JPEG. The mask is drawn from the same shapes as the plastic: a
pixel belongs to a particle where the shape covers at least half of it.

Needs NumPy and OpenCV only, so that `make demo` runs without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

SUPERSAMPLING = 8
COVERED = 0.5
# Colours are RGB in 0..1.
SANDS = ((0.76, 0.69, 0.58), (0.62, 0.53, 0.42), (0.85, 0.80, 0.70), (0.52, 0.47, 0.41))
PLASTICS = (
    (0.96, 0.96, 0.94),
    (0.93, 0.94, 0.97),
    (0.90, 0.90, 0.84),
    (0.10, 0.30, 0.75),
    (0.05, 0.55, 0.75),
    (0.80, 0.10, 0.12),
    (0.95, 0.45, 0.08),
    (0.95, 0.85, 0.10),
    (0.10, 0.60, 0.25),
    (0.85, 0.25, 0.60),
)
WHITES = 3


@dataclass(frozen=True)
class Scene:
    """A painted scene: `image` (H,W,3) uint8 RGB and `mask` (H,W) uint8, 0 or 255."""

    image: Image
    mask: Image


@dataclass(frozen=True)
class Sprite:
    """One small shape: `alpha` (h,w) float32 coverage 0..1 with its top left corner at (x, y)."""

    alpha: Floats
    x: int
    y: int


def scene(rng: np.random.Generator, height: int, width: int, particles: int | None = None) -> Scene:
    """Paint one scene; `particles` is drawn at random when not given."""
    megapixels = height * width / 1e6
    sand = _sand_colour(rng)
    canvas = _sand(rng, height, width, sand)
    _clutter(rng, canvas, sand, megapixels)
    if particles is None:
        # Mostly few, sometimes a heap, and one photo in ten clean.
        per_megapixel = 0.0 if rng.random() < 0.1 else float(np.exp(rng.uniform(2.5, 6.6)))
        particles = int(rng.poisson(per_megapixel * megapixels))
    mask = np.zeros((height, width), np.uint8)
    _plastic(rng, canvas, mask, particles)
    return Scene(_camera(rng, canvas), mask)


def strewn(rng: np.random.Generator, photo: Image, particles: int) -> Scene:
    """A photo (H,W,3) uint8 RGB with painted particles on it; the mask holds these alone."""
    canvas = np.divide(photo, 255, dtype=np.float32)
    bare = canvas.copy()
    mask = np.zeros(photo.shape[:2], np.uint8)
    _plastic(rng, canvas, mask, particles)
    # The photo has been through its own camera; only what was painted is still too sharp.
    painted = cv2.dilate((canvas != bare).any(axis=2).astype(np.uint8), np.ones((3, 3)))[..., None]
    seen = np.where(painted, _blurred(canvas, 0.7), bare)
    return Scene(np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8), mask)


def belt_clip(seed: int, frames: int, side: int = 1440, step: int = 720) -> Iterator[Scene]:
    """Frames of `side` x `side` px of a belt that moves `step` px up a frame."""
    rng = np.random.default_rng(seed)
    length = side + step * (frames - 1)
    belt = scene(rng, length, side, particles=int(40 * side * length / 1e6))
    for index in range(frames):
        top = index * step
        view = belt.image[top : top + side].astype(np.float32)
        view += rng.normal(0.0, 1.5, view.shape).astype(np.float32)
        yield Scene(np.clip(np.rint(view), 0, 255).astype(np.uint8), belt.mask[top : top + side])


def write_photos(folder: Path, count: int, size: int, seed: int) -> Iterator[int]:
    """Write `count` photos of `size` x `size` px as images/ and masks/ under `folder`.

    Photo i depends on (seed, i) alone. Yields the number written so far.

    Raises:
        OSError: the folder cannot be written.
    """
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        painted = scene(np.random.default_rng((seed, index)), size, size)
        name = f"synth_{index:05d}.png"
        _write(folder / "images" / name, cv2.cvtColor(painted.image, cv2.COLOR_RGB2BGR))
        _write(folder / "masks" / name, painted.mask)
        yield index + 1


def _write(path: Path, image: MatLike) -> None:
    encoded = cv2.imencode(path.suffix, image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    path.write_bytes(encoded.tobytes())


# --- sand -----------------------------------------------------------------------------------------


def _sand_colour(rng: np.random.Generator) -> Floats:
    sand = np.asarray(SANDS[rng.integers(len(SANDS))], np.float32)
    return np.clip(sand * rng.uniform(0.6, 1.0) + rng.normal(0, 0.012, 3), 0.15, 0.85).astype(
        np.float32
    )


def _rgb(red: float, green: float, blue: float) -> Floats:
    return np.array([red, green, blue], np.float32)


def _smooth_noise(rng: np.random.Generator, height: int, width: int, scale: float) -> Floats:
    """Noise of unit deviation (H,W) with features of about `scale` px."""
    rows, columns = max(2, round(height / scale) + 1), max(2, round(width / scale) + 1)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    noise = cv2.resize(coarse, (width, height), interpolation=interpolation)
    return np.asarray(noise / (noise.std() + 1e-6), np.float32)


def _sand(rng: np.random.Generator, height: int, width: int, colour: Floats) -> Floats:
    grain = float(np.exp(rng.uniform(np.log(1.0), np.log(4.0))))
    relief = _smooth_noise(rng, height, width, grain) * rng.uniform(0.03, 0.10)
    relief += _smooth_noise(rng, height, width, 4 * grain) * rng.uniform(0.01, 0.06)
    shading = _smooth_noise(rng, height, width, rng.uniform(30, 90)) * rng.uniform(0.02, 0.08)
    shading += _smooth_noise(rng, height, width, rng.uniform(200, 700)) * rng.uniform(0.03, 0.15)
    light = np.clip(1 + relief + shading, 0.25, 1.6)
    tint = np.stack(
        [_smooth_noise(rng, height, width, grain * 1.5) for _ in range(3)], axis=-1
    ) * np.float32(rng.uniform(0.003, 0.025))
    return np.clip(light[..., None] * colour + tint, 0.02, 1.0).astype(np.float32)


# --- shapes ---------------------------------------------------------------------------------------


def _sprite(outline: NDArray[np.float64], x: float, y: float) -> Sprite:
    """Coverage of a polygon (n,2) of px offsets placed at (x, y)."""
    points = outline + np.array([x, y])
    corner = np.floor(points.min(axis=0)).astype(int) - 1
    size = np.ceil(points.max(axis=0)).astype(int) + 2 - corner
    # Pixel (i, j) covers [i, i+1) x [j, j+1); a supersampled pixel's centre is at +0.5.
    fine = np.rint(((points - corner) * SUPERSAMPLING - 0.5) * 16).astype(np.int32)
    drawn = np.zeros((size[1] * SUPERSAMPLING, size[0] * SUPERSAMPLING), np.uint8)
    cv2.fillPoly(drawn, [fine], 255, shift=4)
    alpha = cv2.resize(drawn, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    return Sprite(np.divide(alpha, 255, dtype=np.float32), int(corner[0]), int(corner[1]))


def _blob(
    rng: np.random.Generator, length: float, width: float, rough: float
) -> NDArray[np.float64]:
    """A closed outline about `length` x `width` px, turned at random; `rough` 0 is an ellipse."""
    corners = int(rng.integers(7, 12)) if rough else 24
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    angle += rng.uniform(-1, 1, corners) * rough * 0.4
    radius = 1 - rough * rng.uniform(0, 1, corners)
    points = np.stack(
        [np.cos(angle) * radius * length / 2, np.sin(angle) * radius * width / 2], axis=1
    )
    return points @ _turn(rng)


def _shard(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """A convex angular fragment of 3 to 6 corners, `size` px across."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
    # Corners that bunch up would leave a sliver: spread them.
    even = np.linspace(0, 2 * np.pi, len(angle), endpoint=False)
    angle = 0.4 * angle + 0.6 * even
    points = np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.5, 1.0)], axis=1) * size / 2
    return points @ _turn(rng)


def _strand(rng: np.random.Generator, length: float, width: float) -> NDArray[np.float64]:
    """A curved strand `length` px long and `width` px wide."""
    along = np.linspace(-0.5, 0.5, 9)
    bend = rng.uniform(-0.5, 0.5) * length
    middle = np.stack([along * length, bend * (along**2 - 0.08)], axis=1)
    slope = np.gradient(middle, axis=0)
    normal = np.stack([-slope[:, 1], slope[:, 0]], axis=1)
    normal *= width / 2 / np.linalg.norm(normal, axis=1, keepdims=True)
    outline: NDArray[np.float64] = np.concatenate([middle + normal, (middle - normal)[::-1]])
    return outline @ _turn(rng)


def _turn(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _window(
    sprite: Sprite, height: int, width: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Slices of the canvas and of the sprite where they overlap; None where they do not."""
    rows, columns = sprite.alpha.shape
    top, left = max(0, sprite.y), max(0, sprite.x)
    bottom, right = min(height, sprite.y + rows), min(width, sprite.x + columns)
    if top >= bottom or left >= right:
        return None
    own = (
        slice(top - sprite.y, bottom - sprite.y),
        slice(left - sprite.x, right - sprite.x),
    )
    return (slice(top, bottom), slice(left, right)), own


def _paint(canvas: Floats, sprite: Sprite, colour: Floats, opacity: float = 1.0) -> None:
    window = _window(sprite, *canvas.shape[:2])
    if window is None:
        return
    there, own = window
    alpha = (sprite.alpha[own] * np.float32(opacity))[..., None]
    canvas[there] += alpha * (colour - canvas[there])


def _shade(canvas: Floats, outline: NDArray[np.float64], x: float, y: float, depth: float) -> None:
    """A soft contact shadow a pixel below and right of the shape."""
    black = np.zeros(3, np.float32)
    _paint(canvas, _sprite(outline * 1.15, x + 0.9, y + 1.1), black, depth * 0.6)
    _paint(canvas, _sprite(outline, x + 0.6, y + 0.8), black, depth * 0.4)


# --- what lies on the sand ------------------------------------------------------------------------


def _place(rng: np.random.Generator, canvas: Floats) -> tuple[float, float]:
    return float(rng.uniform(0, canvas.shape[1])), float(rng.uniform(0, canvas.shape[0]))


def _clutter(rng: np.random.Generator, canvas: Floats, sand: Floats, megapixels: float) -> None:
    """Natural things that a network must learn to leave alone."""

    def number(low: float, high: float) -> int:
        return int(rng.poisson(rng.uniform(low, high) * megapixels))

    for _ in range(number(0, 12)):  # stones
        length = rng.uniform(10, 60)
        outline = _blob(rng, length, length * rng.uniform(0.55, 1), 0.15)
        grey = sand.mean() * rng.uniform(0.35, 1.2) + rng.normal(0, 0.03, 3)
        x, y = _place(rng, canvas)
        _shade(canvas, outline, x + length * 0.03, y + length * 0.05, 0.5)
        _paint(canvas, _sprite(outline, x, y), np.clip(grey, 0.05, 0.95).astype(np.float32))
        _paint(
            canvas,
            _sprite(outline * 0.6, x - length * 0.07, y - length * 0.1),
            np.clip(grey * 1.15, 0, 1).astype(np.float32),
            0.5,
        )
    for _ in range(number(0, 8)):  # shells: pale, ribbed, larger than particles
        length = rng.uniform(14, 40)
        outline = _blob(rng, length, length * rng.uniform(0.5, 0.9), 0.1)
        pale = _rgb(0.90, 0.84, 0.76) + rng.normal(0, 0.04, 3).astype(np.float32)
        x, y = _place(rng, canvas)
        _shade(canvas, outline, x, y, 0.5)
        for ring in np.arange(1.0, 0.15, -0.15):
            tone = pale * np.float32(rng.uniform(0.82, 1.0))
            _paint(canvas, _sprite(outline * ring, x, y), np.clip(tone, 0, 1))
    for _ in range(number(0, 120)):  # twigs and plant fibres: brown to black, never saturated
        outline = _strand(rng, rng.uniform(5, 45), rng.uniform(0.8, 3.5))
        brown = _rgb(0.30, 0.22, 0.14) * np.float32(rng.uniform(0.4, 1.4))
        _paint(canvas, _sprite(outline, *_place(rng, canvas)), brown, rng.uniform(0.5, 1))
    dark, tan = rng.uniform(0, 900), rng.uniform(0, 900)
    for count, low, high in ((number(0, dark), 0.15, 0.75), (number(0, tan), 1.02, 1.28)):
        for _ in range(count):  # single grains that stand out, darker or lighter than the sand
            length = rng.uniform(1.5, 7.0)
            outline = _blob(rng, length, length * rng.uniform(0.5, 1), 0.3)
            tone = sand * np.float32(rng.uniform(low, high))
            tone += rng.normal(0, 0.02, 3).astype(np.float32)
            place = _place(rng, canvas)
            _paint(canvas, _sprite(outline, *place), np.clip(tone, 0.02, 0.97), rng.uniform(0.4, 1))
    for _ in range(number(0, 150)):  # rusty and ochre grains
        length = rng.uniform(1.5, 6.0)
        ochre = _rgb(0.58, 0.34, 0.16) + rng.normal(0, 0.05, 3).astype(np.float32)
        outline = _blob(rng, length, length * rng.uniform(0.5, 1), 0.3)
        _paint(canvas, _sprite(outline, *_place(rng, canvas)), ochre, rng.uniform(0.4, 0.9))
    for _ in range(number(0, 250)):  # glints of quartz: white, but only a pixel or so
        outline = _blob(rng, rng.uniform(0.6, 1.8), rng.uniform(0.5, 1.2), 0)
        white = np.ones(3, np.float32)
        _paint(canvas, _sprite(outline, *_place(rng, canvas)), white, rng.uniform(0.3, 0.9))


def _plastic(rng: np.random.Generator, canvas: Floats, mask: Image, count: int) -> None:
    """Paint `count` particles of 3-10 px and their mask."""
    height, width = mask.shape
    # One kind of plastic often dominates a photo, and particles lie in heaps as well as alone.
    pellet_share, white_share = rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9)
    usual = rng.uniform(3.5, 9.0)
    heaps = [_place(rng, canvas) for _ in range(3)]
    heaped = rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
    for _ in range(count):
        x, y = _place(rng, canvas)
        if rng.random() < heaped:
            centre = heaps[rng.integers(len(heaps))]
            x, y = (float(v) for v in rng.normal(centre, 25.0))
            if not (0 <= x < width and 0 <= y < height):
                continue
        size = float(np.clip(rng.normal(usual, 1.5), 3.0, 10.0))
        kind = rng.random()
        if kind < pellet_share:
            outline = _blob(rng, size, max(2.6, size * rng.uniform(0.75, 1.0)), 0)
        elif kind < pellet_share + (1 - pellet_share) * 0.6:
            outline = _shard(rng, max(size, 3.5))
        else:
            outline = _strand(rng, max(size, 5.0), rng.uniform(1.1, 1.9))
        whites = rng.random() < white_share
        index = rng.integers(WHITES) if whites else rng.integers(WHITES, len(PLASTICS))
        colour = _rgb(*PLASTICS[index]) * np.float32(rng.uniform(0.85, 1.0))
        colour = np.clip(colour + rng.normal(0, 0.02, 3), 0.02, 1.0).astype(np.float32)
        # Light of the place: particles in the shade are shaded too.
        light = canvas[int(y), int(x)].mean() / max(float(canvas.mean()), 1e-3)
        colour *= np.float32(np.clip(0.6 + 0.4 * light, 0.6, 1.1))
        sprite = _sprite(outline, x, y)
        window = _window(sprite, height, width)
        if window is None:
            continue
        there, own = window
        covered = sprite.alpha[own] >= COVERED
        if not covered.any():
            continue
        _shade(canvas, outline, x, y, rng.uniform(0.15, 0.6))
        _paint(canvas, sprite, np.clip(colour, 0, 1), rng.uniform(0.85, 1.0))
        if size > 5 and rng.random() < 0.6:  # highlight
            spot = _sprite(outline * 0.35, x - size * 0.12, y - size * 0.15)
            _paint(canvas, spot, np.ones(3, np.float32), rng.uniform(0.2, 0.7))
        mask[there][covered] = 255


# --- camera ---------------------------------------------------------------------------------------


def _blurred(image: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _camera(rng: np.random.Generator, canvas: Floats) -> Image:
    """White balance, exposure, blur, noise, and half the time JPEG."""
    seen = canvas * (rng.uniform(0.95, 1.05, 3) * rng.uniform(0.8, 1.05)).astype(np.float32)
    seen = _blurred(seen, rng.uniform(0.35, 1.05))
    if rng.random() < 0.4:  # the sharpening of phones
        soft = _blurred(seen, 1.5)
        seen = seen + np.float32(rng.uniform(0.2, 0.9)) * (seen - soft)
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(0.003, 0.02))
    image = np.rint(np.clip(seen + noise, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
        coded = cv2.imencode(".jpg", np.ascontiguousarray(image), quality)[1]
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(image, np.uint8)
