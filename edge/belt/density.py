"""How many particles lie on each part of a belt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.belt.frame import BeltFrame
from edge.particles import Particle

# Equal parts of the width of a belt.
LANES = 8
LANE_COLUMNS = tuple(f"lane_{number}" for number in range(1, LANES + 1))
SEGMENT_COLUMNS = ("segment", "begin_px", "end_px", "width_px", "passed_s", "measured",
                   "particles", *LANE_COLUMNS)  # fmt: skip
SEGMENT_MM_COLUMNS = ("begin_mm", "end_mm", "width_mm", "particles_per_m", "particles_per_m2")


@dataclass(frozen=True)
class Segment:
    """A part of a belt over its whole width.

    Attributes:
        number: of the segment; number n begins n times its full length from the first row.
        begin, end: numbers of its first row in the strip, and of the one after the last. Shorter
            than others where the strip begins, ends or is interrupted in it.
        width: px.
        passed_s: when its last row passed the scan row, as `BeltFrame.passed_s`; None where that is
            not known.
        measured: fraction of the rows where the belt's position was measured.
        lanes: number of particles in each of `LANES` lanes, from the left as seen by who travels
            with the belt.
    """

    number: int
    begin: int
    end: int
    width: int
    passed_s: float | None
    measured: float
    lanes: tuple[int, ...]

    @property
    def particles(self) -> int:
        """Number of particles whose centroids lie in it."""
        return sum(self.lanes)

    def record(self, mm_per_pixel: float | None = None) -> dict[str, Any]:
        """A flat row of `SEGMENT_COLUMNS`, and with a scale of `SEGMENT_MM_COLUMNS`, too."""
        row = {
            "segment": self.number,
            "begin_px": self.begin,
            "end_px": self.end,
            "width_px": self.width,
            "passed_s": None if self.passed_s is None else round(self.passed_s, 6),
            "measured": round(self.measured, 4),
            "particles": self.particles,
            **dict(zip(LANE_COLUMNS, self.lanes, strict=True)),
        }
        if mm_per_pixel is None:
            return row
        length_m, width_m = (px * mm_per_pixel / 1000 for px in (self.end - self.begin, self.width))
        return row | {
            "begin_mm": round(self.begin * mm_per_pixel, 4),
            "end_mm": round(self.end * mm_per_pixel, 4),
            "width_mm": round(self.width * mm_per_pixel, 4),
            "particles_per_m": round(self.particles / length_m, 3),
            "particles_per_m2": round(self.particles / (length_m * width_m), 3),
        }


@dataclass(eq=False)
class _Open:
    """A segment that may still gain rows or particles."""

    begin: int
    end: int
    passed_s: float = math.nan
    measured: int = 0
    lanes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LANES, np.int64))


class Density:
    """Counts the particles of a strip by segment; memory is that of a few segments.

    Args:
        length_px: of a segment; whole rows are taken.
    """

    def __init__(self, length_px: float) -> None:
        self._rows = max(1, round(length_px))
        self._open: dict[int, _Open] = {}
        # Number of the first row that was not added yet.
        self._next = 0

    def add(
        self, frame: BeltFrame, particles: Iterable[Particle], complete_to: int
    ) -> tuple[Segment, ...]:
        """The rows of a frame that are new, and particles of these or earlier rows.

        Args:
            complete_to: row before which no more particles will come.

        Returns:
            Segments that are complete, in order.
        """
        begin, width = max(frame.first_row, self._next), frame.image.shape[1]
        if begin < frame.first_row + len(frame.image):
            self._add_rows(frame, begin)
        for particle in particles:
            lane = min(int(particle.x * LANES / width), LANES - 1)
            row = round(frame.first_row + particle.y)
            self._open[row // self._rows].lanes[lane] += 1
        return tuple(self._complete(complete_to, width, ends=frame.ends))

    def _add_rows(self, frame: BeltFrame, begin: int) -> None:
        end = frame.first_row + len(frame.image)
        for number in range(begin // self._rows, (end - 1) // self._rows + 1):
            first = max(begin, number * self._rows)
            last = min(end, (number + 1) * self._rows)
            segment = self._open.setdefault(number, _Open(first, last))
            segment.end = last
            rows = slice(first - frame.first_row, last - frame.first_row)
            segment.passed_s = float(frame.passed_s[rows][-1])
            segment.measured += int(frame.measured[rows].sum())
        self._next = end

    def _complete(self, complete_to: int, width: int, *, ends: bool) -> Iterator[Segment]:
        for number in sorted(self._open):
            if not ends and (number + 1) * self._rows > complete_to:
                return
            one = self._open.pop(number)
            yield Segment(
                number,
                one.begin,
                one.end,
                width,
                None if math.isnan(one.passed_s) else one.passed_s,
                one.measured / (one.end - one.begin),
                tuple(one.lanes.tolist()),
            )
