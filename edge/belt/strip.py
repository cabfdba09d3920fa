"""The rows of a belt, each once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.belt.direction import Direction
from edge.belt.registration import Position

# Shifts by less are left out, since resampling blurs; OpenCV rounds to 1/32 px anyway.
NEGLIGIBLE = 1 / 64
# Rows of the strip after which 1/e is left of a column's distance from its place in the frame.
STRAIGHTENING = 500.0
# Around the rows that are resampled; and those at the edges of a frame that are not taken from it,
# since resampling needs their neighbours.
_MARGIN, _EDGE = 3, 2


@dataclass(frozen=True, eq=False)
class Rows:
    """New rows of a strip.

    Attributes:
        first: number of the first; where it is not the one after the last row before, those between
            were in no frame.
        pixels: uint8 (n,W,3) RGB.
        measured: bool (n,), whether the position of the frame that they are of was measured.
        crossweb: float64 (n,), column of the belt that is in column 0.
    """

    first: int
    pixels: NDArray[np.uint8]
    measured: NDArray[np.bool_]
    crossweb: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Placed:
    """A turned frame and where it is: column u of the strip is at `offset` + u in its scan row."""

    image: NDArray[np.uint8]
    position: Position
    offset: float

    def rows(self, begin: int, end: int, scan_row: int) -> NDArray[np.uint8]:
        """Rows of the strip, resampled where they lie between rows or columns of the frame."""
        height, width = self.image.shape[:2]
        skew = self.position.skew
        y = scan_row + begin - self.position.downweb
        count = end - begin
        low = max(0, math.floor(y) - _MARGIN)
        high = min(height, math.ceil(y + count) + _MARGIN)
        # How far to the right the strip's columns are in the first of the rows, and in the last.
        first, last = (self.offset + skew * (at - scan_row) for at in (y, y + count))
        if max(abs(y - round(y)), abs(first), abs(last)) < NEGLIGIBLE:
            return np.array(self.image[round(y) : round(y) + count])
        part = np.ascontiguousarray(self.image[low:high])
        transform = np.array([[1, skew, first], [0, 1, y - low]])
        resampled = cv2.warpAffine(
            part, transform, (width, count), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(resampled, np.uint8)


class Strip:
    """Takes frames with their positions and gives the rows that have passed the scan row.

    Row r of the strip is what passes the scan row when the belt's position is r. It is taken from
    the first frame after that; where frames are missing, what the one before saw upstream of the
    scan row is taken from that. Only one frame is kept.

    Args:
        scan_row: of the turned frames; None is the middle.
    """

    def __init__(self, direction: Direction = Direction.UP, scan_row: int | None = None) -> None:
        self._direction, self._scan_row = direction, scan_row
        self._next = 0
        self._last: _Placed | None = None

    def add(self, image: NDArray[np.uint8], position: Position) -> list[Rows]:
        """The rows that are new in a frame (H,W,3) uint8 RGB: none, or one or more runs of them."""
        turned = self._direction.turned(image)
        scan_row = turned.shape[0] // 2 if self._scan_row is None else self._scan_row
        placed = _Placed(turned, position, self._offset(position, scan_row))
        last, self._last = self._last, placed
        end = math.floor(position.downweb + NEGLIGIBLE) + 1
        if end <= self._next:
            return []
        begin = max(self._next, min(end, math.ceil(position.downweb - scan_row) + _EDGE))
        parts: list[Rows] = []
        if last and begin > self._next:
            bottom = math.floor(last.position.downweb + turned.shape[0] - scan_row) - _EDGE
            until = min(begin, bottom)
            if until > self._next:
                parts.append(_rows(last, self._next, until, scan_row))
        if end > begin:
            parts.append(_rows(placed, begin, end, scan_row))
        self._next = end
        return parts

    def _offset(self, position: Position, scan_row: int) -> float:
        """So that the columns go on where those of the last frame end. A belt that wanders is
        followed, slowly, since the strip must stay in the picture."""
        if self._last is None:
            return 0.0
        before = self._last.position
        travel = position.downweb - before.downweb
        # What was in the scan row then is `travel` rows farther up now.
        expected = self._last.offset + position.skew * travel
        offset = expected - (position.crossweb - before.crossweb)
        return offset * math.exp(-abs(travel) / STRAIGHTENING)


def _rows(placed: _Placed, begin: int, end: int, scan_row: int) -> Rows:
    position = placed.position
    measured = np.full(end - begin, position.measured)
    upstream = np.arange(begin, end, dtype=np.float64) - position.downweb
    crossweb = position.crossweb + placed.offset + position.skew * upstream
    return Rows(begin, placed.rows(begin, end, scan_row), measured, crossweb)
