"""A part of a strip on its way through the runtime."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge.belt.registration import Motion
from edge.frame import Frame


@dataclass(frozen=True, eq=False)
class BeltFrame(Frame):
    """Rows of a strip; `index` counts such frames, and `time_s` is that of the last camera frame.

    Attributes:
        first_row: number of the first row in the strip.
        valid: numbers of the first row that this frame is there for, and of the one after the last;
            the others are the halo.
        ends: whether the strip ends with it, or is interrupted.
        passed_s: float64 (H,), when each row passed the scan row, as `time_s`; NaN where the source
            has no time stamps.
        measured: bool (H,), whether the belt's position was measured there, or assumed.
        crossweb: float64 (H,), column of the belt that is in column 0 of each row; they differ
            where the camera vibrates, and the strip follows it.
        motion: of the belt in the last camera frame; None where it is not known.
    """

    first_row: int = field(kw_only=True)
    valid: tuple[int, int] = field(kw_only=True)
    ends: bool = field(kw_only=True)
    passed_s: NDArray[np.float64] = field(kw_only=True)
    measured: NDArray[np.bool_] = field(kw_only=True)
    crossweb: NDArray[np.float64] = field(kw_only=True)
    motion: Motion | None = field(kw_only=True)

    def cut(self, begin: int, end: int) -> BeltFrame:
        """Rows number `begin` to `end` of the strip alone, all of them valid."""
        rows = slice(begin - self.first_row, end - self.first_row)
        return replace(
            self,
            image=self.image[rows],
            first_row=begin,
            valid=(begin, end),
            passed_s=self.passed_s[rows],
            measured=self.measured[rows],
            crossweb=self.crossweb[rows],
        )
