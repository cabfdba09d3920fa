"""The way a belt runs through the picture."""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray


class Direction(enum.Enum):
    """Where what lies on the belt moves to in the picture.

    A strip is always upright: pictures are turned so that the belt moves up in them. Its rows are
    then in the order in which they pass, and it is no mirror image.
    """

    UP = "up"
    DOWN = "down"
    LEFT = "left"
    RIGHT = "right"

    @classmethod
    def of(cls, dy: float, dx: float) -> Direction:
        """Of a movement of `dy` px down and `dx` px to the right."""
        if abs(dy) >= abs(dx):
            return cls.DOWN if dy > 0 else cls.UP
        return cls.RIGHT if dx > 0 else cls.LEFT

    @property
    def vertical(self) -> bool:
        """Whether the belt moves along the columns of the picture."""
        return self in (Direction.UP, Direction.DOWN)

    def turned(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A view of a picture (H,W,...) in which the belt moves up."""
        turns = {Direction.UP: 0, Direction.RIGHT: 1, Direction.DOWN: 2, Direction.LEFT: 3}
        return np.rot90(image, turns[self])

    def travel(self, dy: float, dx: float) -> tuple[float, float]:
        """Downweb and crossweb travel, px, where the content moved by `dy` down and `dx` right."""
        return {
            Direction.UP: (-dy, -dx),
            Direction.DOWN: (dy, dx),
            Direction.LEFT: (-dx, dy),
            Direction.RIGHT: (dx, -dy),
        }[self]

    def shift(self, downweb: float, crossweb: float) -> tuple[float, float]:
        """The inverse of `travel`: (dy, dx)."""
        return {
            Direction.UP: (-downweb, -crossweb),
            Direction.DOWN: (downweb, crossweb),
            Direction.LEFT: (crossweb, -downweb),
            Direction.RIGHT: (-crossweb, downweb),
        }[self]

    def row(self, line: int, frame_hw: tuple[int, int]) -> int:
        """The row of the turned picture that is row (or, sideways, column) `line` of the frame."""
        height, width = frame_hw
        return {
            Direction.UP: line,
            Direction.DOWN: height - 1 - line,
            Direction.LEFT: line,
            Direction.RIGHT: width - 1 - line,
        }[self]
