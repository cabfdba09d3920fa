"""Hard negatives: parts of plastic-free photos that a network takes for particles.

train mine best.pt --sand sand/ --out negatives
train fit --sand sand/ --negatives negatives ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.files import ensure_empty_directory
from edge.particles import Particle, ParticleFilter, find_particles
from edge.sources.images import read_image
from edge.visualisation import write_image
from train.checkpoint import Checkpoint
from train.data.sand import SCALES, sand_files
from train.evaluate import probability_maps

# Each photo is looked at in full size, in half, and so on.
OCTAVES = 4
# Side of a negative, px, and how many one photo at one scale gives at most.
SIDE, MOST = 192, 24


@dataclass(frozen=True)
class MiningResult:
    """What the network marked in photos without plastic, over all scales.

    Attributes:
        false_positives: objects marked.
        megapixels: looked at.
        crops: negatives written.
    """

    false_positives: int
    megapixels: float
    crops: int

    def __str__(self) -> str:
        rate = self.false_positives / self.megapixels
        return (
            f"{self.false_positives} false positives in {self.megapixels:.1f} megapixels "
            f"({rate:.1f} per megapixel), {self.crops} negatives written"
        )


def mine(checkpoint: Checkpoint, places: Sequence[str], out: Path) -> MiningResult:
    """Run the network over photos without plastic, and cut out what it marks.

    Args:
        places: folders or globs of photos.
        out: new folder for the negatives, PNG of at most 192x192 px each.

    Raises:
        BadArgumentError: `out` is not empty.
        EdgeError: a place holds no readable image, or none of them is as large as a negative.
        OSError: a negative cannot be written.
    """
    files = sand_files(places)
    ensure_empty_directory(out)
    particle_filter = ParticleFilter.of(checkpoint)
    marked, pixels, crops = 0, 0, 0
    # Two walks in step: one goes through the network.
    views, seen = tee(_views(path for paths in files for path in paths))
    maps = probability_maps(checkpoint, (image for _, image in seen))
    for (name, image), found in zip(views, maps, strict=True):
        particles = find_particles(found, particle_filter.mask(found))
        marked, pixels = marked + len(particles), pixels + found.size
        for number, window in enumerate(_windows(particles, found.shape)):
            cut = cv2.cvtColor(image[window], cv2.COLOR_RGB2BGR)
            write_image(out / f"{name}_{number:02d}.png", np.asarray(cut, np.uint8))
            crops += 1
    if not pixels:
        raise EdgeError(f"no photo is as large as a negative, {SIDE}x{SIDE} px; give larger ones")
    return MiningResult(marked, pixels / 1e6, crops)


def _views(paths: Iterable[Path]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """A name of its own and an image (H,W,3) RGB of each photo at each of its scales."""
    for number, path in enumerate(paths):
        image = read_image(path)
        for octave in range(OCTAVES):
            scale = 0.5**octave
            if scale < SCALES[0] or min(image.shape[:2]) * scale < SIDE:
                break
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield f"{number:05d}_{path.stem}_{octave}", np.asarray(small, np.uint8)


def _windows(
    particles: Sequence[Particle], size_hw: tuple[int, ...]
) -> Iterator[tuple[slice, slice]]:
    """Squares of `SIDE` px around the surest particles; none in a square that came before."""
    seen = np.zeros(size_hw, np.bool_)
    count = 0
    for particle in sorted(particles, key=lambda particle: -particle.mean_probability):
        at = round(particle.y), round(particle.x)
        if count < MOST and not seen[at]:
            top, left = (
                int(np.clip(middle - SIDE // 2, 0, size - SIDE))
                for middle, size in zip(at, size_hw, strict=True)
            )
            window = slice(top, top + SIDE), slice(left, left + SIDE)
            seen[window] = True
            count += 1
            yield window
