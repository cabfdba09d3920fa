"""Pictures of results, and the one way to write a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.files import atomic_write

if TYPE_CHECKING:
    from edge.result import Result

MARKER_BGR = (255, 0, 255)


def draw_overlay(result: Result) -> NDArray[np.uint8]:
    """The frame (H,W,3) uint8 BGR with its particles circled, wide enough not to hide them."""
    image = cv2.cvtColor(result.frame.image, cv2.COLOR_RGB2BGR)
    for particle in result.particles:
        centre = (round(particle.x), round(particle.y))
        cv2.circle(image, centre, round(particle.diameter_px / 2) + 5, MARKER_BGR, 1)
    text, scale = f"{len(result.particles)} particles", min(1.0, image.shape[1] / 1000)
    left, bottom, width = round(12 * scale), round(36 * scale), max(1, round(2 * scale))
    # An outline of the same glyphs: thicker ones would be wider.
    outline = [((0, 0, 0), dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    for colour, dx, dy in (*outline, ((255, 255, 255), 0, 0)):
        at = left + dx, bottom + dy
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width)
    return np.asarray(image, np.uint8)


def write_image(
    path: Path, image: NDArray[np.uint8], options: Sequence[int] = (), *, durable: bool = True
) -> None:
    """Encode `image` (H,W) or (H,W,3) BGR as the suffix says; an earlier file stays until then.

    Args:
        options: of `cv2.imencode`.
        durable: of `edge.files.atomic_write`.

    Raises:
        OSError: the file cannot be written.
        EdgeError: the format cannot hold the image.
    """
    try:
        encoded = cv2.imencode(path.suffix, image, options)[1]
    except cv2.error as error:
        height, width = image.shape[:2]
        raise EdgeError(f"{path}: OpenCV cannot write {width}x{height} px so") from error
    with atomic_write(path, durable=durable) as temporary:
        # Unlike ndarray.tofile, this says what is wrong with the disk.
        temporary.write_bytes(encoded.tobytes())
