"""What the page shows of a belt: its last rows as a picture that scrolls, and its density."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.belt.density import Segment
from edge.belt.frame import BeltFrame
from edge.belt.result import BeltResult
from edge.visualisation import MARKER_BGR

# Of the picture, px: across the belt at most, and along it; and of JPEG.
ACROSS_PX, ALONG_PX, JPEG_QUALITY = 240, 1600, 80
# Segments that are shown, the last ones.
SEGMENTS = 120
# A particle's circle, px of the picture.
MIN_RADIUS = 4


@dataclass(frozen=True, eq=False)
class _Piece:
    """Of the picture: uint8 (h,n,3) BGR from column `begin` on."""

    begin: int
    pixels: NDArray[np.uint8]


class BeltView:
    """Of one belt; memory is bounded, and all methods may be called from any thread.

    The picture is turned: the belt moves to the left in it, and its last rows are at the right.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: deque[_Piece] = deque()
        # Column and row in the picture, and radius, of the particles in it.
        self._marks: deque[tuple[float, float, int]] = deque()
        self._segments: deque[Segment] = deque(maxlen=SEGMENTS)
        self._newest: BeltFrame | None = None
        # Number of the first row that has not come yet.
        self._next = 0
        self._encoded: tuple[int, bytes] | None = None

    def add(self, result: BeltResult) -> None:
        """The next result."""
        frame = cast(BeltFrame, result.frame)
        width = frame.image.shape[1]
        scale = min(1.0, ACROSS_PX / width)
        first, end = max(frame.first_row, self._next), frame.first_row + len(frame.image)
        begin, stop = (int(row * scale) for row in (first, end))
        piece = None
        if stop > begin:
            across = max(1, round(width * scale))
            turned = cv2.rotate(
                frame.image[first - frame.first_row :], cv2.ROTATE_90_COUNTERCLOCKWISE
            )
            small = cv2.resize(turned, (stop - begin, across), interpolation=cv2.INTER_AREA)
            piece = _Piece(begin, np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), np.uint8))
        marks = [
            (
                (frame.first_row + particle.y) * scale,
                (width - 1 - particle.x) * scale,
                max(MIN_RADIUS, round(particle.diameter_px * scale)),
            )
            for particle in result.particles
        ]
        with self._lock:
            self._newest, self._next = frame, end
            self._segments.extend(result.segments)
            self._marks.extend(marks)
            if piece:
                self._pieces.append(piece)
                while self._pieces[0].begin < stop - 2 * ALONG_PX:
                    self._pieces.popleft()
                while self._marks and self._marks[0][0] < self._pieces[0].begin:
                    self._marks.popleft()

    def state(self) -> dict[str, Any]:
        """Where the belt is, how fast, and how well that is known; None where it is not."""
        with self._lock:
            frame = self._newest
        motion = frame.motion if frame else None
        return {
            "downweb_px": self._next,
            "speed_px_s": None if motion is None else round(motion.speed_px_s, 3),
            "quality": None if motion is None else round(min(motion.quality, 1e6), 1),
            "measured": bool(frame and frame.measured[-1]),
        }

    def segments(self, mm_per_pixel: float | None) -> list[dict[str, Any]]:
        """Records of the last `SEGMENTS` segments."""
        with self._lock:
            segments = list(self._segments)
        return [segment.record(mm_per_pixel) for segment in segments]

    def jpeg(self) -> bytes | None:
        """The last rows, particles circled, at most `ALONG_PX` long; None before the first."""
        with self._lock:
            pieces, marks, end = list(self._pieces), list(self._marks), self._next
            if not pieces:
                return None
            if self._encoded and self._encoded[0] == end:
                return self._encoded[1]
        stop = pieces[-1].begin + pieces[-1].pixels.shape[1]
        begin = max(stop - ALONG_PX, pieces[0].begin)
        picture = np.zeros((pieces[-1].pixels.shape[0], stop - begin, 3), np.uint8)
        for piece in pieces:
            left = max(begin - piece.begin, 0)
            if (pixels := piece.pixels[:, left:]).size:
                at = piece.begin + left - begin
                picture[:, at : at + pixels.shape[1]] = pixels
        for x, y, radius in marks:
            centre = round(x) - begin, round(y)
            cv2.circle(picture, centre, radius, MARKER_BGR, 1, cv2.LINE_AA)
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        content = cv2.imencode(".jpg", picture, options)[1].tobytes()
        with self._lock:
            self._encoded = end, content
        return content
