"""What every sink of results is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame
from edge.particles import Particle


@dataclass(frozen=True)
class Result:
    """What was found in one frame; `mask` (H,W) uint8 is 255 where a particle is, else 0."""

    frame: Frame
    mask: NDArray[np.uint8]
    particles: list[Particle]

    @property
    def file_stem(self) -> str:
        """A name for files about this frame: unique in a run, sorted as the frames are."""
        return f"{self.frame.index:06d}_{self.frame.name}"


class Sink(Protocol):
    """Takes results one by one; `close` finishes what it wrote, also after an error."""

    def write(self, result: Result) -> None: ...

    def close(self) -> None: ...
