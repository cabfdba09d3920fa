"""One frame on its way through the runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """`image` (H,W,3) uint8 RGB; `index` from 0; `name` for the files written about it.

    `time_s` is Unix time for photos (last change of the file) and cameras (capture), and seconds
    from the start of the clip for video files.
    """

    image: NDArray[np.uint8]
    index: int
    name: str
    time_s: float

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width), px."""
        height, width = self.image.shape[:2]
        return height, width
