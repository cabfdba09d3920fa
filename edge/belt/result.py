"""What was found in a part of a strip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from edge.belt.density import Segment
from edge.belt.frame import BeltFrame
from edge.result import Result

# What records of a belt have besides.
BELT_COLUMNS = ("downweb_px", "crossweb_px", "passed_s", "registration", "speed_px_s", "eject_s",
                "eject_error_s", "eject_crossweb_px", "eject_error_px")  # fmt: skip
# How well a place is known, px; and standard deviations of the speed that a bound allows for.
PLACE_ERROR, DEVIATIONS = 2.0, 3.0
# By how much of the way to the eject line the skew may be wrong.
SKEW_ERROR = 0.002
# Slower than this a belt stands still, px per s.
MIN_SPEED = 1.0


@dataclass(frozen=True, eq=False)
class BeltResult(Result):
    """Of the particles of a strip that are complete; the frame is a `BeltFrame`.

    In `particles` y counts from the frame's first row, as in other results; in the records it is
    the row of the strip.

    Attributes:
        eject_px: distance from the scan row to the eject line; None where there is none.
        segments: of the belt, that are complete with this result.
    """

    eject_px: float | None = None
    segments: tuple[Segment, ...] = ()

    def records(self, mm_per_pixel: float | None = None) -> list[dict[str, Any]]:
        """As `Result.records`, with `BELT_COLUMNS`: position along and across the belt, when the
        particle passed the scan row, whether the belt's position there was measured or assumed,
        the belt's speed, and when and where it will cross the eject line, with a bound of the
        error of each. What is not known is None."""
        frame = cast(BeltFrame, self.frame)
        rows = super().records(mm_per_pixel)
        for row, particle in zip(rows, self.particles, strict=True):
            downweb = frame.first_row + particle.y
            row["y_px"] = round(downweb, 2)
            if mm_per_pixel is not None:
                row["y_mm"] = round(downweb * mm_per_pixel, 4)
            row |= dict.fromkeys(BELT_COLUMNS)
            row["downweb_px"], row["crossweb_px"] = row["y_px"], row["x_px"]
            passed_s = float(np.interp(particle.y, np.arange(len(frame.passed_s)), frame.passed_s))
            at = min(max(round(particle.y), 0), len(frame.measured) - 1)
            row["registration"] = "measured" if frame.measured[at] else "assumed"
            if np.isfinite(passed_s):
                row["passed_s"] = round(passed_s, 6)
                row |= self._ejection(frame, frame.crossweb[at] + particle.x, downweb)
        return rows

    def _ejection(self, frame: BeltFrame, crossweb: float, downweb: float) -> dict[str, Any]:
        """Of a particle at that place of the belt, px."""
        motion = frame.motion
        if motion is None:
            return {}
        speed = motion.speed_px_s
        values = {"speed_px_s": round(speed, 3)}
        if self.eject_px is None or speed < MIN_SPEED:
            return values
        left = downweb + self.eject_px - motion.downweb
        error = PLACE_ERROR + DEVIATIONS * motion.deviation_px_s * abs(left) / speed
        return values | {
            "eject_s": round(motion.time_s + left / speed, 6),
            "eject_error_s": round(error / speed, 6),
            "eject_crossweb_px": round(crossweb - motion.crossweb - motion.skew * left, 2),
            "eject_error_px": round(PLACE_ERROR + SKEW_ERROR * self.eject_px, 2),
        }
