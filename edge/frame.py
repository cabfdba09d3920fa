"""One frame on its way through the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Of a name that becomes part of a file name; file systems take 255 bytes.
MAX_STEM_BYTES = 120


@dataclass(frozen=True, eq=False)
class Frame:
    """A captured frame.

    Attributes:
        image: uint8 (H,W,3) RGB.
        index: of the frames of its source, from 0.
        file: path of the file as the user gave it, with `#2` for the second page or frame of an
            image file; a camera's name, or the address of a stream.
        time_s: Unix time for photos (last change of the file) and cameras (capture); seconds from
            the start of the clip for video files. None where the source has no time stamps.
        source: name of its source, in a run of several; empty in a run of one.
        encoder: counts of an encoder on the belt's drive at the exposure; None where the source
            has none.
    """

    image: NDArray[np.uint8]
    index: int
    file: str
    time_s: float | None
    source: str = ""
    encoder: float | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width), px."""
        height, width = self.image.shape[:2]
        return height, width

    @property
    def stem(self) -> str:
        """A name for files about this frame: unique in a run, sorted as the frames are."""
        kept = "".join(c if c.isprintable() else "_" for c in Path(self.file).stem)
        kept = kept.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
        # A camera's name is that of its source.
        names = dict.fromkeys(name for name in (self.source, kept) if name)
        return "_".join([f"{self.index:06d}", *names])


@dataclass(frozen=True)
class SkippedFrame:
    """A frame without a result.

    Attributes:
        index, file, time_s, source: as in `Frame`.
        status: "dropped" for a newer frame or in a pause, or "failed": it could not be read.
        reason: why, in a sentence; empty for one that a newer frame replaced.
    """

    index: int
    file: str
    time_s: float | None
    status: Literal["dropped", "failed"]
    reason: str = ""
    source: str = ""
