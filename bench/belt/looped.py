"""A belt without end, as fast as it is taken or at the pace of a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.belt.belts import Belt
from bench.belt.camera import FPS
from edge.frame import Frame
from edge.sources.source import Source

# Frames of a belt lie between its rows by so many different parts of a px.
PHASES = 4


class LoopedBelt(Source):
    """`frames` frames of `height` rows, of a belt that begins again where it ends; it moves up by
    whole quarters of a px.

    There is no noise: adding it would take longer than what is measured.

    Args:
        paced: whether a frame comes every 1 / FPS s, rather than when it is taken.

    Attributes:
        given_s: (frames,) when each came, by `time.perf_counter`; NaN before.
    """

    time_base = "clip"

    def __init__(
        self, belt: Belt, height: int, step_px: float, frames: int, *, paced: bool
    ) -> None:
        super().__init__("looped belt")
        self._quarters = round(step_px * PHASES)
        self._length, self._height, self._paced = belt.length, height, paced
        self._images = _between_rows(belt.image, height)
        self.expected = frames
        self.given_s = np.full(frames, np.nan)

    def __iter__(self) -> Iterator[Frame]:
        start_s = time.perf_counter()
        for index in range(self.expected or 0):
            if self._paced:
                time.sleep(max(0.0, start_s + index / FPS - time.perf_counter()))
            row, phase = divmod(index * self._quarters, PHASES)
            top = row % self._length
            image = self._images[phase][top : top + self._height]
            self.given_s[index] = time.perf_counter()
            yield Frame(image, index, self.uri, index / FPS)


def _between_rows(image: NDArray[np.uint8], height: int) -> list[NDArray[np.uint8]]:
    """The belt once around and `height` rows more, moved up by 0, 1/4, 1/2 and 3/4 px."""
    repeats = 2 + height // len(image)
    around = np.concatenate([image] * repeats)[: len(image) + height + 8]
    rows, width = len(image) + height, image.shape[1]
    found = []
    for phase in range(PHASES):
        moved = np.array([[1, 0, 0], [0, 1, phase / PHASES]])
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(around, moved, (width, rows), flags=flags)
        found.append(np.asarray(view, np.uint8))
    return found
