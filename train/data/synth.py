"""Rendered sand photos with exact masks: `train synth DIR --photos 100 --seed 0`.

A scene is rendered in the order light meets it: sand (a real photo where there are some,
`sand.py`), distractors (`distractors.py`), plastic (`plastic.py`), then what the camera adds
(`camera.py`). A particle that the photo does not show is not in the mask. A seed is a scene.

Needs NumPy and OpenCV only, so that `make demo` runs without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge.visualisation import write_image
from train.data.camera import blurred, photograph, zoom
from train.data.distractors import scatter_distractors
from train.data.plastic import Plastic, read_cutouts, visible
from train.data.sand import SandPhotos, fine_sand, rendered_sand
from train.data.shapes import Floats, Image

# Of the scenes with photos to draw from: rendered sand all the same, and mined negatives.
RENDERED, MINED = 0.25, 0.35
# Of all scenes: without a particle; and, on mined negatives, which hold what looks like plastic.
CLEAN, CLEAN_MINED = 0.3, 0.8
# Little compression, which is quick.
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True, eq=False)
class Scene:
    """A rendered scene: `image` (H,W,3) uint8 RGB and `mask` (H,W) uint8, 0 or 255."""

    image: Image
    mask: Image


@dataclass(frozen=True)
class Materials:
    """What scenes are made of besides what is rendered.

    Attributes:
        sand: photos of sand without plastic.
        negatives: parts of such photos that a network took for plastic; see `train mine`.
        plastic: shapes, and cut-outs of real particles.
    """

    sand: SandPhotos | None = None
    negatives: SandPhotos | None = None
    plastic: Plastic = field(default_factory=Plastic)

    @classmethod
    def read(
        cls, sand: Sequence[str] = (), negatives: Sequence[str] = (), cutouts: Path | None = None
    ) -> Materials:
        """From folders or globs of photos, and a folder with images/ and masks/ of particles.

        Raises:
            EdgeError: one of them holds no readable image.
        """
        return cls(
            SandPhotos.read(sand) if sand else None,
            SandPhotos.read(negatives) if negatives else None,
            Plastic(read_cutouts(cutouts) if cutouts else ()),
        )


RENDERED_ONLY = Materials()


def scene(
    rng: np.random.Generator,
    height: int,
    width: int,
    particles: int | None = None,
    materials: Materials = RENDERED_ONLY,
) -> Scene:
    """Render one scene; the number of `particles` is drawn at random when not given."""
    canvas, clean = _sand(rng, height, width, materials)
    scatter_distractors(rng, canvas)
    if particles is None:
        # Mostly few, sometimes a heap, and some photos clean.
        per_megapixel = 0.0 if rng.random() < clean else float(np.exp(rng.uniform(3.7, 8.2)))
        particles = int(rng.poisson(per_megapixel * height * width / 1e6))
    scale = zoom(rng)
    mask = materials.plastic.scatter(rng, canvas, particles, scale=scale)
    image = photograph(rng, canvas, scale)
    return Scene(image, visible(mask, image))


def _sand(
    rng: np.random.Generator, height: int, width: int, materials: Materials
) -> tuple[Floats, float]:
    """A canvas, and the fraction of such canvases that stay clean."""
    kind = rng.random()
    if materials.negatives and kind < MINED:
        return materials.negatives.view(rng, height, width), CLEAN_MINED
    if materials.sand and kind < 1 - RENDERED:
        return materials.sand.view(rng, height, width), CLEAN
    return rendered_sand(rng, height, width), CLEAN


def composited(rng: np.random.Generator, photo: Image, particles: int) -> Scene:
    """A photo (H,W,3) uint8 RGB with rendered particles on it; the mask holds these alone."""
    canvas = np.divide(photo, 255, dtype=np.float32)
    bare = canvas.copy()
    mask = RENDERED_ONLY.plastic.scatter(rng, canvas, particles)
    # The photo has been through its own camera; only what was rendered is still too sharp.
    touched = cv2.dilate((canvas != bare).any(axis=2).astype(np.uint8), np.ones((3, 3)))[..., None]
    seen = np.where(touched, blurred(canvas, 0.7), bare)
    return Scene(np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8), mask)


def belt(rng: np.random.Generator, length: int, width: int, per_megapixel: float = 40) -> Scene:
    """A belt of `length` rows that spreads fine sand and its particles, so that none touches
    another."""
    canvas = fine_sand(rng, length, width)
    scatter_distractors(rng, canvas)
    count = int(per_megapixel * width * length / 1e6)
    mask = RENDERED_ONLY.plastic.scatter(rng, canvas, count, apart=True)
    image = photograph(rng, canvas)
    return Scene(image, visible(mask, image))


def belt_clip(seed: int, frames: int, side: int = 1440, step: int = 720) -> Iterator[Scene]:
    """Frames of `side` x `side` px of a `belt` that moves `step` px up a frame."""
    rng = np.random.default_rng(seed)
    whole = belt(rng, side + step * (frames - 1), side)
    for index in range(frames):
        top = index * step
        view = whole.image[top : top + side].astype(np.float32)
        view += rng.normal(0.0, 1.5, view.shape).astype(np.float32)
        yield Scene(np.clip(np.rint(view), 0, 255).astype(np.uint8), whole.mask[top : top + side])


def write_photos(
    folder: Path, count: int, size: int, seed: int, materials: Materials = RENDERED_ONLY
) -> Iterator[int]:
    """Write `count` photos of `size` x `size` px as images/ and masks/ under `folder`.

    Sample i depends on (seed, i) and the materials alone. Yields the number written so far.

    Raises:
        OSError: the folder cannot be written.
    """
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        rendered = scene(np.random.default_rng((seed, index)), size, size, materials=materials)
        name = f"synth_{index:05d}.png"
        image = np.asarray(cv2.cvtColor(rendered.image, cv2.COLOR_RGB2BGR), np.uint8)
        for kind, pixels in (("images", image), ("masks", rendered.mask)):
            write_image(folder / kind / name, pixels, PNG, durable=False)
        yield index + 1
