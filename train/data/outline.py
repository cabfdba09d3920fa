"""Outlines and run-length codes drawn as numbers of objects.

Coordinates are px from the top left corner of the photo, so that the first pixel's centre is at
(0.5, 0.5), as labelling tools count. pycocotools is imported here only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

Objects = NDArray[np.int32]
Ring = NDArray[np.float64]
# Sides of the polygon that an ellipse is drawn as.
ELLIPSE_SIDES = 64


class Canvas:
    """Objects (H,W) int32, 0 on background; what is drawn later lies on top."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        # Column by column, as the codes run.
        self._flat: Objects = np.zeros(shape[0] * shape[1], np.int32)
        self.count = 0

    @property
    def objects(self) -> Objects:
        """What is drawn, (H,W)."""
        height, width = self.shape
        return np.ascontiguousarray(self._flat.reshape(width, height).T)

    def draw(self, rings: Sequence[Ring] = (), runs: Sequence[int] = ()) -> bool:
        """One object: the area of all `rings` (n,2) and of `runs`; False where it has no pixel.

        A ring that lies inside another one is a hole in it.

        Args:
            runs: lengths of alternating 0 and 1, column by column, H * W together.
        """
        covered = [_pixels(_runs_of(ring, self.shape)) for ring in rings]
        holes = [part for part in covered if _is_hole(part, covered)] if len(rings) > 1 else []
        areas = [part for part in covered if not any(part is hole for hole in holes)]
        if runs:
            areas.append(_pixels(runs))
        pixels = np.concatenate([np.empty(0, np.int64), *areas])
        if holes:
            pixels = np.setdiff1d(pixels, np.concatenate(holes))
        return self._number(pixels)

    def fill(self, mask: NDArray[np.bool_], left: int = 0, top: int = 0) -> bool:
        """One object: a mask (h,w) that lies there; False where no pixel of it is on the photo."""
        rows, columns = np.nonzero(mask)
        rows, columns = rows + top, columns + left
        height, width = self.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return self._number(columns[inside] * height + rows[inside])

    def _number(self, pixels: NDArray[np.int64]) -> bool:
        if not pixels.size:
            return False
        self.count += 1
        self._flat[pixels] = self.count
        return True


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Ring:
    """An ellipse as a ring (n,2), turned clockwise on the screen."""
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_SIDES, endpoint=False)
    turn = np.deg2rad(degrees)
    along, across = rx * np.cos(angle), ry * np.sin(angle)
    return np.stack(
        [
            x + along * np.cos(turn) - across * np.sin(turn),
            y + along * np.sin(turn) + across * np.cos(turn),
        ],
        axis=1,
    )


def decode_runs(code: str) -> list[int]:
    """Compressed COCO counts: 5 bits a character, the lowest first, in two's complement.

    From the fourth on each is the difference to the last but one.
    """
    runs: list[int] = []
    value = bits = 0
    for character in code.encode("ascii"):
        digit = character - 48
        value |= (digit & 31) << bits
        bits += 5
        if not digit & 32:  # the last character of this count
            if digit & 16:
                value -= 1 << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs


def _runs_of(ring: Ring, shape: tuple[int, int]) -> list[int]:
    (code,) = coco.frPyObjects([ring.ravel().tolist()], *shape)
    return decode_runs(code["counts"].decode())


def _pixels(runs: Sequence[int]) -> NDArray[np.int64]:
    """The places of the runs of 1, column by column."""
    ends = np.cumsum(runs)
    spans = [np.arange(a, b) for a, b in zip(ends[::2], ends[1::2], strict=False)]
    return np.concatenate([np.empty(0, np.int64), *spans])


def _is_hole(part: NDArray[np.int64], others: Sequence[NDArray[np.int64]]) -> bool:
    """Whether all of a part is in a larger one."""
    larger = [other for other in others if other.size > part.size > 0]
    return any(np.isin(part, other).all() for other in larger)
