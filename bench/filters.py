"""Classical filters as baselines: a response map in the place of a network's probability map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

DIAMETERS = (3, 5, 7, 9, 13, 19, 27, 41)
# Side of the window of the local median, in diameters: mostly background.
MEDIAN_WINDOW = 4


@dataclass(frozen=True)
class Filter:
    """A filter for spots of one size.

    Attributes:
        kind: key of `KINDS`.
        diameter: of the spots, px; 0 where the kind has none.
    """

    kind: str
    diameter: int

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.diameter} px" if self.diameter else self.kind

    @property
    def margin(self) -> int:
        """Px around a pixel that its response depends on."""
        return MEDIAN_WINDOW * self.diameter

    multiple = 1

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Response uint8 (H,W), in grey levels of contrast, of an image (H,W,3) RGB."""
        return KINDS[self.kind](image, self.diameter)


def brightness(image: NDArray[np.uint8], _: int) -> NDArray[np.uint8]:
    """Luma (H,W) of an image (H,W,3) RGB."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def tophat(image: NDArray[np.uint8], diameter: int) -> NDArray[np.uint8]:
    """White top-hat of the brightness: it less its opening by a disc."""
    return _tophat(brightness(image, 0), diameter)


def colour_distance(image: NDArray[np.uint8], diameter: int) -> NDArray[np.uint8]:
    """RGB distance to the local median, whatever the colour."""
    median = cv2.medianBlur(image, MEDIAN_WINDOW * diameter | 1)
    difference = image.astype(np.float32) - median
    return np.asarray(np.sqrt((difference**2).mean(axis=2)).round(), np.uint8)


def colour_tophat(image: NDArray[np.uint8], diameter: int) -> NDArray[np.uint8]:
    """White top-hat of the colour distance."""
    return _tophat(colour_distance(image, diameter), diameter)


def log(image: NDArray[np.uint8], diameter: int) -> NDArray[np.uint8]:
    """Laplacian of Gaussian of the brightness, sign reversed, at the scale of the diameter."""
    sigma = diameter / (2 * math.sqrt(2))
    smooth = cv2.GaussianBlur(brightness(image, 0).astype(np.float32), (0, 0), sigma)
    response = -(sigma**2) * np.asarray(cv2.Laplacian(smooth, cv2.CV_32F), np.float32)
    return np.asarray(response.round().clip(0, 255), np.uint8)


def either_log(image: NDArray[np.uint8], diameter: int) -> NDArray[np.uint8]:
    """The same of bright spots and of dark ones, the stronger response."""
    return np.maximum(log(image, diameter), log(255 - image, diameter))


def _tophat(channel: NDArray[np.uint8], diameter: int) -> NDArray[np.uint8]:
    # Larger than the spot, which the opening is to take away.
    side = diameter + 2
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.morphologyEx(channel, cv2.MORPH_TOPHAT, disc), np.uint8)


KINDS: dict[str, Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]] = {
    "brightness": brightness,
    "top-hat": tophat,
    "colour distance": colour_distance,
    "top-hat of colour": colour_tophat,
    "LoG": log,
    "LoG, either sign": either_log,
}
FILTERS = (
    Filter("brightness", 0),
    *(Filter(kind, d) for kind in KINDS if kind != "brightness" for d in DIAMETERS),
)
