"""Pictures of what was found: masks as PNG, overlays as JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.files import replacing
from edge.sinks.sink import Result

RING_BGR = (255, 0, 255)


class Masks:
    """masks/INDEX_NAME.png: one bit a pixel, white where a particle is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "masks"
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        path = self._folder / f"{result.file_stem}.png"
        write_image(path, result.mask, [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1])

    def close(self) -> None:
        pass


class Overlays:
    """overlays/INDEX_NAME.jpg: the frame with a ring around every particle, and their count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "overlays"
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        write_image(
            self._folder / f"{result.file_stem}.jpg",
            draw_overlay(result),
            [cv2.IMWRITE_JPEG_QUALITY, 90],
        )

    def close(self) -> None:
        pass


def draw_overlay(result: Result) -> NDArray[np.uint8]:
    """The frame (H,W,3) uint8 BGR with its particles ringed, wide enough not to hide them."""
    image = cv2.cvtColor(result.frame.image, cv2.COLOR_RGB2BGR)
    for particle in result.particles:
        centre = (round(particle.x), round(particle.y))
        cv2.circle(image, centre, round(particle.diameter_px / 2) + 5, RING_BGR, 1)
    text = f"{len(result.particles)} particles"
    for colour, thickness in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        cv2.putText(image, text, (12, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.0, colour, thickness)
    return np.asarray(image, np.uint8)


def write_image(path: Path, image: NDArray[np.uint8], options: Sequence[int] = ()) -> None:
    """Encode `image` (H,W) or (H,W,3) BGR as the suffix says; an earlier file stays until then.

    Args:
        options: of `cv2.imencode`.

    Raises:
        OSError: the file cannot be written.
    """
    encoded = cv2.imencode(path.suffix, image, options)[1]
    with replacing(path) as temporary:
        encoded.tofile(temporary)
