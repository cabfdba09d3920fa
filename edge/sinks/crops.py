"""Particles cut out of their frames, to become training images after a look."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.particles import Particle
from edge.result import Result
from edge.sinks.sink import Sink
from edge.visualisation import write_image

# Of a crop, px; larger ones are made for particles that leave less than the margin in it.
SIDE, MARGIN = 64, 16


@dataclass(frozen=True)
class Limit:
    """How many crops are made: `count` in all, or in each minute."""

    count: int
    per_minute: bool

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Of 1000 or 20/min. Raises ValueError where it is neither."""
        found = re.fullmatch(r"(\d+)(/min)?", text)
        if not found or not int(found[1]):
            raise ValueError("a number of crops such as 1000 or 20/min")
        return cls(int(found[1]), bool(found[2]))


class CropSink(Sink):
    """FOLDER/images/NAME.png and FOLDER/masks/NAME.png for each particle, of which NAME holds the
    start of the run in UTC, frame, file and particle. `train check FOLDER` and `train fit --data
    FOLDER` read that; what is wrong in a mask is to be corrected, or both files removed, before.

    Args:
        limit: of crops; the particles of a frame that has more are chosen at random, and crops are
            spread over the minute.
    """

    def __init__(self, folder: Path, limit: Limit | None = None) -> None:
        self.name = f"crops {folder.name}"
        self._images, self._masks = folder / "images", folder / "masks"
        self._limit, self._made = limit, 0
        self._random = random.Random(0)
        self._credit, self._credited_s = 1.0, time.monotonic()
        self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for one in (self._images, self._masks):
            one.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        particles = result.particles
        if (left := self._left()) is not None and left < len(particles):
            particles = self._random.sample(particles, left)
        for particle in particles:
            name = f"{self._stamp}_{result.frame.stem}_{particle.id:04d}.png"
            where = window(particle, result.frame.size_hw)
            image = cv2.cvtColor(result.frame.image[where], cv2.COLOR_RGB2BGR)
            write_image(self._masks / name, result.mask[where], durable=False)
            try:
                write_image(self._images / name, np.asarray(image, np.uint8), durable=False)
            except OSError:
                (self._masks / name).unlink()  # a mask without image is no sample
                raise
            self._made += 1
            self._credit -= 1

    def _left(self) -> int | None:
        """Crops that may be made now; None is no limit."""
        if self._limit is None:
            return None
        if not self._limit.per_minute:
            return self._limit.count - self._made
        now_s, count = time.monotonic(), self._limit.count
        self._credit = min(count, self._credit + (now_s - self._credited_s) * count / 60)
        self._credited_s = now_s
        return int(self._credit)


def window(particle: Particle, size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a square of `SIDE` px or more around a particle, inside of the frame."""
    side = max(SIDE, round(particle.diameter_px) + 2 * MARGIN)

    def span(centre: float, length: int) -> slice:
        begin = max(0, min(round(centre) - side // 2, length - side))
        return slice(begin, min(begin + side, length))

    height, width = size_hw
    return span(particle.y, height), span(particle.x, width)
