"""A belt of rendered sand under a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.belt.direction import Direction
from edge.frame import Frame
from edge.sources.source import Source

Image = NDArray[np.uint8]
# Undoes `Direction.turned`: how often a picture in which the belt moves up is turned to the right.
TURNS = {Direction.UP: 0, Direction.RIGHT: 1, Direction.DOWN: 2, Direction.LEFT: 3}
MARGIN = 12


def view(belt: Image, downweb: float, crossweb: float, size_hw: tuple[int, int]) -> Image:
    """What a camera sees of a belt that has moved up by `downweb` and left by `crossweb`."""
    transform = np.array([[1, 0, crossweb + MARGIN], [0, 1, downweb]], float)
    seen = cv2.warpAffine(
        belt, transform, size_hw[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(seen, np.uint8)


def noisy(image: Image, sigma: float, rng: np.random.Generator, gain: float = 1.0) -> Image:
    values = image * gain + rng.normal(0, sigma, image.shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


class BeltSource(Source):
    """A camera above `belt`, which has moved by `places[i]` px in frame i.

    Args:
        change: what else becomes of a frame, in which the belt moves up.
    """

    time_base = "clip"

    def __init__(
        self,
        belt: Image,
        places: Sequence[float] | NDArray[np.float64],
        size_hw: tuple[int, int],
        *,
        direction: Direction = Direction.UP,
        fps: float | None = 25.0,
        change: Callable[[Image, int], Image] = lambda image, _: image,
    ) -> None:
        super().__init__("belt")
        self._belt, self._places, self._size_hw = belt, places, size_hw
        self._direction, self._fps, self._change = direction, fps, change

    def __iter__(self) -> Iterator[Frame]:
        for index, place in enumerate(self._places):
            image = self._change(view(self._belt, place, 0.0, self._size_hw), index)
            turned = np.ascontiguousarray(np.rot90(image, -TURNS[self._direction]))
            yield Frame(turned, index, "belt", None if self._fps is None else index / self._fps)
