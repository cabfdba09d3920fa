"""Hard negatives: parts of plastic-free photos that a network takes for particles.

train mine best.pt --sand sand/ --out negatives
train fit --sand sand/ --negatives negatives ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.files import new_folder, replacing
from edge.particles import Particle, find_particles, particle_mask
from edge.sources.images import read_image
from train.checkpoint import Checkpoint, probability
from train.data.photos import Photo
from train.data.sand import SCALES, sand_files
from train.evaluate import predict

# Each photo is looked at in full size, in half, and so on.
OCTAVES = 4
# Side of a negative, px, and how many one photo at one scale gives at most.
SIDE, MOST = 192, 24


@dataclass(frozen=True)
class Mined:
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
            f"({rate:.1f} a megapixel), {self.crops} negatives written"
        )


def mine(checkpoint: Checkpoint, places: Sequence[str], out: Path) -> Mined:
    """Run the network over photos without plastic, and cut out what it marks.

    Args:
        places: folders or globs of photos.
        out: new folder for the negatives, PNG of at most 192x192 px each.

    Raises:
        BadArgumentError: `out` is not empty.
        ToolError: a place holds no readable image.
        OSError: a negative cannot be written.
    """
    files = sand_files(places)
    new_folder(out)
    threshold_u8 = max(1, round(checkpoint.threshold * 255))
    marked, pixels, crops = 0, 0, 0
    for path in (path for paths in files for path in paths):
        image = read_image(path)
        for octave in range(OCTAVES):
            scale = 0.5**octave
            if scale < SCALES[0] or min(image.shape[:2]) * scale < SIDE:
                break
            small = np.asarray(
                cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
            )
            empty = np.zeros(small.shape[:2], np.uint8)
            logits = next(predict(checkpoint, [Photo(path.stem, small, empty)]))
            found = probability(logits, checkpoint.prior).numpy()
            particles = find_particles(found, particle_mask(found, threshold_u8))
            marked, pixels = marked + len(particles), pixels + empty.size
            for number, window in enumerate(_windows(particles, empty)):
                _write(out / f"{path.stem}_{octave}_{number:02d}.png", small[window])
                crops += 1
    return Mined(marked, pixels / 1e6, crops)


def _windows(
    particles: Sequence[Particle], seen: NDArray[np.uint8]
) -> Iterator[tuple[slice, slice]]:
    """Squares of `SIDE` px around the surest particles; none in a square that came before.

    Args:
        seen: zeros (H,W), which are set to 1 where a square is.
    """
    count = 0
    for particle in sorted(particles, key=lambda particle: -particle.mean_probability):
        at = round(particle.y), round(particle.x)
        if count < MOST and not seen[at]:
            top, left = (
                int(np.clip(middle - SIDE // 2, 0, size - SIDE))
                for middle, size in zip(at, seen.shape, strict=True)
            )
            window = slice(top, top + SIDE), slice(left, left + SIDE)
            seen[window] = 1
            count += 1
            yield window


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with replacing(path) as temporary:
        encoded.tofile(temporary)
